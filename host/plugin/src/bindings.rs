//! The host's side of our WIT, generated.
//!
//! One world with everything this version offers: which of it a component gets is decided where it is
//! linked, and which of it a component exports is asked of the component.

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package carillon:host;

        world host {
          import carillon:plugin/settings@0.1.0;
          import carillon:plugin/log@0.1.0;
          import carillon:plugin/roster@0.1.0;
          import carillon:plugin/post@0.1.0;
          import carillon:plugin/chat-control@0.1.0;
          import carillon:plugin/kv@0.1.0;
          export carillon:plugin/lifecycle@0.1.0;
          export carillon:plugin/message-handler@0.1.0;
        }
    ",
    world: "carillon:host/host",
    imports: { default: trappable },
    exports: { default: async },
});

//! The host's side of our WIT, generated.
//!
//! One world with everything this version offers: which of it a component gets is decided where it is
//! linked, and which of it a component exports is asked of the component.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "carillon:plugin/everything",
    imports: {
        // Reads from the disk, within the call's deadline.
        "carillon:plugin/history.before": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});

//! The guest's side of the WIT, generated: what the component imports and exports.

#![expect(unsafe_code, reason = "generated code crosses the border to the host")]

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package carillon:meeting;

        world meeting {
          include carillon:plugin/message-plugin@0.1.0;
          import carillon:plugin/kv@0.1.0;
          import carillon:plugin/chat-control@0.1.0;
        }
    ",
    world: "carillon:meeting/meeting",
    generate_all,
});

use crate::guest::Meeting;

export!(Meeting);

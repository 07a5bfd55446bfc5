//! The guest's side of the WIT, generated: what the component imports and exports.

#![expect(unsafe_code, reason = "generated code crosses the border to the host")]

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package carillon:archive;

        world archive {
          include carillon:plugin/policy-plugin@0.1.0;
        }
    ",
    world: "carillon:archive/archive",
    generate_all,
});

use crate::guest::Archive;

export!(Archive);

//! The guest's side of the WIT, generated: what the component imports and exports.

#![expect(unsafe_code, reason = "generated code crosses the border to the host")]

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package carillon:sms;

        world sms {
          include carillon:plugin/twilio-plugin@0.1.0;
          import carillon:plugin/kv@0.1.0;
          import carillon:plugin/post@0.1.0;
          import carillon:plugin/history@0.1.0;
        }
    ",
    world: "carillon:sms/sms",
    generate_all,
});

use crate::guest::Sms;

export!(Sms);

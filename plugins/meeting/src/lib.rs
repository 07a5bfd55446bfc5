//! The shipped plugin `meeting`: tags, minutes and whiteboards, and markers of what people do.
//!
//! Each is a message whose body is JSON. What a message makes is called like the message: the plugin writes its id into the
//! body, so the sender has it in the answer and everybody else in the message.
//!
//! | kind | body | what the plugin adds |
//! |---|---|---|
//! | `minute.create` | `topic_id`, `start_ms`?, `end_ms`? | `minute_id`; `start_ms`, if it is not said |
//! | `minute.update` | `minute_id`, `topic_id`, `start_ms` | `end_ms`: now |
//! | `tag.create` | `minute_id`, `name`, `tag_reference_id`? | `tag_id` |
//! | `tag.delete` | `tag_id` | |
//! | `whiteboard.create` | `name` | `whiteboard_id` |
//! | `whiteboard.delete` | `whiteboard_id` | |
//! | `whiteboard.path.create` | `whiteboard_id`, `path_data` | `path_id` |
//! | `whiteboard.path.delete` | `whiteboard_id`, `path_id` | |
//! | `marker` | `type`, `user`?, and what belongs to the type | `user`; of a `skew` also `system_ms` and `skew_ms` |
//!
//! Markers are recorded and shown to nobody: their route is `nobody`. Of `started` and `ended` the chat starts and ends, of the
//! first `connected` and `publishing` it gets the attributes `connected_ms` and `publishing_ms`.
//!
//! [`read()`] tells what a message asks, [`decide()`] what comes of it; both are plain functions, and `guest` is what a component
//! needs beside them.

mod decide;
mod fields;
mod request;

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod guest;

pub use decide::{Change, Decision, Moment, Now, decide};
pub use fields::Refusal;
pub use request::{Act, Message, Request, Thing, read};

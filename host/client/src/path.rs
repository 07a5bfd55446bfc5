//! What stands in a request's first line and in its headers: paths, queries, and text that must not end a line.

use std::fmt::Write as _;

use model::ChatToken;

use crate::ReadOptions;

pub(crate) fn read_path(chat: ChatToken, options: &ReadOptions, reader: Option<&str>) -> String {
    let mut path = format!("/v1/chats/{chat}/messages?wait={}", options.wait.as_secs_f64());
    let texts = [
        ("after", options.after.as_ref().map(|cursor| cursor.0.as_str())),
        ("before", options.before.as_ref().map(|cursor| cursor.0.as_str())),
        ("as", reader),
        ("confirmed", options.confirmed.then_some("true")),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            push(&mut path, format_args!("&{name}="));
            escape(&mut path, text);
        }
    }
    if let Some(limit) = options.limit {
        push(&mut path, format_args!("&limit={limit}"));
    }
    path
}

pub(crate) fn member_path(chat: ChatToken, member: &str) -> String {
    let mut path = format!("/v1/chats/{chat}/members/");
    escape(&mut path, member);
    path
}

/// A collection of the archive, or a key in it.
pub(crate) fn archive_path(collection: &str, key: Option<&str>) -> String {
    let mut path = "/v1/archive/".to_owned();
    escape(&mut path, collection);
    for part in key.into_iter().flat_map(|key| key.split('/')) {
        path.push('/');
        escape(&mut path, part);
    }
    path
}

/// Writes text into a path or a query.
pub(crate) fn escape(path: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            push(path, format_args!("%{byte:02X}"));
        }
    }
}

pub(crate) fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = text.write_fmt(more);
}

/// What would end a header's line becomes something that the node refuses.
pub(crate) fn header_safe(text: &str) -> String {
    text.replace(|letter: char| letter.is_control(), " ")
}

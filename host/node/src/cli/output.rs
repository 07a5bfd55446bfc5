//! Standard output for results, standard error for everything else.
//!
//! A reader that went away (`carillon chat tail … | head -1`) is no error: it wanted no more.

use std::fmt::Display;
use std::io::Write;

use super::Problem;

/// Prints a line of results at once, also into a pipe.
///
/// # Errors
/// When the line cannot be written for another reason than that nobody reads any more: then `Ok(false)`.
pub(crate) fn line(text: impl Display) -> Result<bool, Problem> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Problem::failed(
            format!("standard output cannot be written: {error}"),
            "Send it somewhere with room",
        )),
    }
}

/// Prints a line for people. Nowhere to print it to is no reason to stop.
pub(crate) fn note(text: impl Display) {
    let _unheard = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints what went wrong.
pub(crate) fn error(problem: &Problem) {
    note(format_args!("carillon: {problem}"));
}

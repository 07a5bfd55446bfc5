//! A body that is given on as it comes, and never stands in memory as a whole.
//!
//! Who takes it sets the pace: what is not asked for stays in the socket, and in the client.

use archive::{BodyEnded, Next};
use axum::body::Body;
use bytes::Bytes;
use chat::Code;
use http_body_util::BodyExt;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};

use crate::asked::Asked;
use crate::auth::Grant;
use crate::problem::Problem;

/// A request's body, on its way to the archive.
pub(crate) struct Incoming<'a>(&'a mut Body);

impl archive::Body for Incoming<'_> {
    fn next(&mut self) -> Next<'_> {
        Box::pin(more(self.0))
    }
}

async fn more(body: &mut Body) -> Option<Result<Bytes, BodyEnded>> {
    loop {
        match body.frame().await? {
            // Trailers are no part of a body.
            Ok(frame) => match frame.into_data() {
                Ok(data) => return Some(Ok(data)),
                Err(_trailers) => {}
            },
            Err(error) => return Some(Err(BodyEnded(error.to_string()))),
        }
    }
}

impl<G: Grant> Asked<G> {
    /// How many bytes the body has. It must say so in front.
    pub(crate) fn length(&self) -> Result<u64, Problem> {
        let headers = &self.parts.headers;
        let missing = || Problem::new(Code::LengthRequired, "Content-Length: missing");
        if headers.contains_key(TRANSFER_ENCODING) {
            return Err(missing());
        }
        let said = headers.get(CONTENT_LENGTH).ok_or_else(missing)?;
        let length = said.to_str().ok().and_then(|said| said.parse().ok());
        length.ok_or_else(|| Problem::invalid("Content-Length: a number of bytes"))
    }

    /// Refuses a body that is not what is to be kept.
    pub(crate) fn plain(&self) -> Result<(), Problem> {
        match self.header(CONTENT_ENCODING.as_str()) {
            None | Some("identity") => Ok(()),
            Some(_) => {
                let detail = "Content-Encoding: bodies are kept as they are";
                Err(Problem::new(Code::UnsupportedMediaType, detail))
            }
        }
    }

    /// Refuses a body: this endpoint reads none.
    pub(crate) fn no_body(&self) -> Result<(), Problem> {
        match hyper::body::Body::is_end_stream(&self.body) {
            true => Ok(()),
            false => Err(Problem::invalid("the body: none is read here").and_hang_up()),
        }
    }

    /// The body, as it comes.
    pub(crate) fn incoming(&mut self) -> Incoming<'_> {
        Incoming(&mut self.body)
    }
}

//! One connection to a service, one request at a time.
//!
//! HTTP/1.1 by hyper, driven by whoever waits for an answer: no task belongs to a connection, so dropping an
//! attempt drops its connection and that is all. At rest nobody looks at it; whether it still lives is seen
//! when it is wanted.

use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use runtime::Instant;

use crate::dial::Stream;
use crate::service_url::Origin;

/// Bytes of an answer's headers.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Headers of an answer.
const HEADERS_MAX: usize = 64;
/// Bytes of an answer's body that are read.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;

type Driver = Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// A connection. After an error, and when a future of it was dropped, it is of no use any more.
pub(crate) struct Wire {
    requests: SendRequest<Full<Bytes>>,
    /// Moves the bytes. Gone when the connection has ended.
    driver: Option<Pin<Box<Driver>>>,
    /// Where it goes.
    pub(crate) origin: Origin,
    /// To which address, so that it can be checked again.
    pub(crate) address: IpAddr,
    /// Since when it is there.
    pub(crate) since: Instant,
}

impl Wire {
    /// Speaks HTTP over `stream`; nothing is sent yet.
    pub(crate) async fn new(
        origin: &Origin,
        stream: Box<dyn Stream>,
        address: IpAddr,
    ) -> hyper::Result<Self> {
        let mut builder = Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
        let (requests, driver) = builder.handshake(TokioIo::new(stream)).await?;
        let driver = Some(Box::pin(driver));
        Ok(Self { requests, driver, origin: origin.clone(), address, since: runtime::now() })
    }

    /// Sends a request and waits for the headers of its answer.
    pub(crate) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        let Self { requests, driver, .. } = self;
        driven(driver, requests.send_request(request)).await
    }

    /// Reads an answer's body into `body`, as far as it is kept. Cancel-safe as to `body`: what came is in
    /// it. Says whether that was all, so that another request can follow.
    pub(crate) async fn read(&mut self, incoming: &mut Incoming, body: &mut Vec<u8>) -> bool {
        loop {
            match driven(&mut self.driver, incoming.frame()).await {
                None => return true,
                Some(Err(_broken)) => return false,
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let room = BODY_BYTES_MAX - body.len();
                    body.extend_from_slice(data.get(..room).unwrap_or(&data));
                    if data.len() > room {
                        return false;
                    }
                }
            }
        }
    }

    /// Whether another request can be sent: it has not ended, and nothing came that nobody asked for.
    pub(crate) fn is_usable(&mut self) -> bool {
        let Some(driver) = &mut self.driver else { return false };
        // Whoever sends on it next looks again with a waker that wakes.
        if driver.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            self.driver = None;
            return false;
        }
        self.requests.is_ready()
    }
}

/// What `future` gives, while the connection that it waits for is moved on.
async fn driven<F: Future>(driver: &mut Option<Pin<Box<Driver>>>, future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        let Some(moving) = driver else { return Poll::Pending };
        if moving.as_mut().poll(cx).is_ready() {
            // Dropping it tells the future that nothing more will come.
            *driver = None;
        }
        future.as_mut().poll(cx)
    })
    .await
}

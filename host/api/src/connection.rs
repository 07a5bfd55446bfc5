//! One client's connection, from its first byte to its last.
//!
//! The bounds are here because the HTTP machinery has only some of them: it waits for ever for the first
//! byte of a new connection. A body's bounds are where it is read ([`crate::asked`]).

use std::convert::Infallible;
use std::pin::pin;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::Service;

use crate::Patience;
use crate::connected::Connected;
use crate::metrics::ConnectionCounters;
use crate::request_id;
use crate::socket::Socket;

/// Bytes of a request's head. How many headers it may have is hyper's own bound of 100.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Serves one connection until either side has enough. After `draining` it ends with the request that is
/// under way; after `stop` at once.
pub(crate) async fn serve(
    stream: TcpStream,
    router: Router,
    counters: ConnectionCounters,
    patience: Patience,
    connected: Connected,
) {
    let (draining, stop) = (connected.draining().clone(), connected.stop().clone());
    let stalled = connected.stalled().clone();
    let first_byte = tokio::select! {
        biased;
        () = draining.stopped() => return,
        first_byte = runtime::timeout(patience.first_byte, stream.readable()) => first_byte,
    };
    if first_byte.is_err() {
        counters.too_slow.increment(1);
        return;
    }
    let service = service_fn(move |request| answer(router.clone(), connected.clone(), request));
    let socket = Socket::new(stream, patience.stall, stalled);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // One signal is listened to at a time: both are looked at whenever the connection does anything.
    let ended = tokio::select! {
        biased;
        () = draining.stopped() => None,
        ended = connection.as_mut() => Some(ended),
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                () = stop.stopped() => return,
                ended = connection.as_mut() => ended,
            }
        }
    };
    if let Err(error) = ended {
        if error.is_timeout() {
            counters.too_slow.increment(1);
        }
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Answers one request. Everything that is in every answer is done here.
async fn answer(
    mut router: Router,
    connected: Connected,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let id = request_id::ensure(request.headers_mut());
    request.extensions_mut().insert(connected);
    let mut response = router.call(request).await?;
    response.headers_mut().insert(request_id::REQUEST_ID, id);
    Ok(response)
}

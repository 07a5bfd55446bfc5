//! Other nodes that dial this one.
//!
//! Handshakes are bounded, and when many are open an address has to show first that it can be
//! answered, so that nobody can make this node work with addresses that are not theirs.

use std::sync::Arc;

use quinn::Endpoint;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::greeting::{self, GREETING_MAX, GreetingError};
use crate::metric;
use crate::peer::{self, Net};
use crate::peers::code;
use crate::transport::{HANDSHAKES_MAX, HANDSHAKES_UNPROVEN_MAX};

/// Takes connections until the node stops.
pub(crate) async fn listen(net: Net, endpoint: Endpoint) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let incoming = tokio::select! { biased;
            () = net.tasks.stop().stopped() => return,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        let open = HANDSHAKES_MAX - handshakes.available_permits();
        if open > HANDSHAKES_UNPROVEN_MAX && incoming.may_retry() {
            // It failed only if the address is proven after all.
            drop(incoming.retry());
            continue;
        }
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let connection = net.clone();
        net.tasks.spawn("peer that dialled", accept(connection, incoming, permit));
    }
}

async fn accept(net: Net, incoming: quinn::Incoming, permit: OwnedSemaphorePermit) {
    let address = incoming.remote_address();
    let greeted = runtime::timeout(GREETING_MAX, async {
        let connection = incoming.accept()?.await?;
        let greeted = greeting::answer(&connection, &net.ours, &net.peers).await;
        Ok((connection, greeted))
    });
    let stop = net.tasks.stop().clone();
    let greeted = tokio::select! { biased;
        () = stop.stopped() => return,
        greeted = greeted => greeted.unwrap_or(Err(GreetingError::Silent)),
    };
    drop(permit);
    match greeted {
        Ok((connection, Ok(greeted))) => peer::serve(&net, &connection, greeted).await,
        Ok((connection, Err(error))) => {
            if matches!(error, GreetingError::Malformed(_)) {
                metric::malformed(&net.ours.node);
                connection.close(code::MALFORMED, error.to_string().as_bytes());
            } else {
                metric::refused(&net.ours.node);
                connection.close(code::STOPPING, b"");
            }
            tracing::warn!(node = %net.ours.node, %address, %error, "no peer");
        }
        Err(error) => {
            metric::refused(&net.ours.node);
            tracing::warn!(node = %net.ours.node, %address, %error, "no peer");
        }
    }
}

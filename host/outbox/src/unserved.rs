//! Calls of plugins to services that this node has no section for: nobody makes them, and they end all the same.
//!
//! Such a call is no service's task to end, because there is none. It may still be made when the service comes into a
//! file, or the chat to a node that has it; so it ends when it is as old as a call becomes where no file says
//! otherwise, or at once when its service was forgotten. Until then it counts among its chat's open calls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use model::Outcall;
use runtime::Stop;

use crate::agreeing::Agreements;
use crate::calls::{is_old, nothing};
use crate::desk::Desk;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So old a call becomes: as `outcall_give_up` where it is not set.
const GIVE_UP: Duration = Duration::from_secs(3600);

/// Ends them until the node stops.
pub(crate) async fn end(desk: Arc<dyn Desk>, agreements: Arc<Agreements>, stop: Stop) {
    loop {
        tokio::select! { biased;
            () = stop.stopped() => return,
            () = runtime::sleep(LOOK_EVERY) => {}
        }
        tokio::select! { biased;
            () = stop.stopped() => return,
            () = end_all(&*desk, &agreements) => {}
        }
    }
}

/// One of each chat: the next one the next time.
async fn end_all(desk: &dyn Desk, agreements: &Agreements) {
    let strangers = agreements.strangers().into_iter();
    let forgotten = strangers.filter(|(_, agreed)| agreed.forgotten).map(|(name, _)| name);
    let forgotten: BTreeSet<String> = forgotten.collect();
    let wall_ms = runtime::wall_ms();
    let ends = |call: &Outcall| {
        let over = forgotten.contains(&call.service) || is_old(call, GIVE_UP, wall_ms);
        over && !agreements.is_own(&call.service)
    };
    for partition in desk.partitions().all() {
        let Some(epoch) = desk.leads(partition) else { continue };
        for call in desk.calls(partition, epoch, &ends) {
            let service = &call.outcall.service;
            if desk.reply(nothing(call.chat, call.number, 0)).await {
                count(service);
                tracing::warn!(service, plugin = call.outcall.plugin, chat = %call.chat,
                    "a plugin's call ends unanswered: this node has no such service in its file");
            }
        }
    }
}

/// A plugin was told that nobody answered.
pub(crate) fn count(service: &str) {
    counter!("carillon_service_calls_unanswered_total", "service" => service.to_owned())
        .increment(1);
}

//! A node in a process of its own that ends, or stands still, at the step of a transaction where it is told: nobody can aim
//! a signal there from outside.
//!
//! The process is this program of tests once more, with the one test below. The binary that is shipped knows nothing of it,
//! and listens to no variable.

use std::path::{Path, PathBuf};
use std::time::Duration;

use node::assemble::{Node, Process};
use node::config::Config;
use outbox::{Hook, Point};
use plugin::Compiler;
use rustix::process::{Signal, getpid, kill_process};
use tests::carillon::Carillon;

use crate::three::Starting;

/// Names the node's configuration to its process.
const CONFIG: &str = "CARILLON_HOOKED_NODE";
/// Longer than a signal takes to stop all threads of a process.
const STOPPING: Duration = Duration::from_secs(2);
const NAME: &str = "hooked::a_node_that_ends_or_stands_still_where_it_is_told";

/// Starts it and waits until it is ready.
pub(crate) fn start(config: &str) -> Starting<'_> {
    Box::pin(async move {
        let me = std::env::current_exe().expect("a test has an executable");
        let args = [NAME, "--exact", "--ignored", "--nocapture"];
        Carillon::start_other(&me, &args, (CONFIG, config)).await
    })
}

/// The next time it is there it kills itself.
pub(crate) fn dies_at(config: &str, point: Point) {
    order(config, "dies", point);
}

/// The next time it is there it stands still, until it is told to go on.
pub(crate) fn stands_still_at(config: &str, point: Point) {
    order(config, "stands still", point);
}

fn orders(config: &Path) -> PathBuf {
    config.with_extension("orders")
}

fn order(config: &str, what: &str, point: Point) {
    let orders = orders(Path::new(config));
    // Whole or not at all: it may look at any moment.
    let written = orders.with_extension("written");
    std::fs::write(&written, format!("{what} at {point:?}")).expect("written");
    std::fs::rename(&written, &orders).expect("moved");
}

/// Does what was ordered for this step, once; whether it was something.
fn obey(orders: &Path, point: Point) -> bool {
    let Ok(order) = std::fs::read_to_string(orders) else { return false };
    let Some((what, at)) = order.split_once(" at ") else { return false };
    if at != format!("{point:?}") || std::fs::remove_file(orders).is_err() {
        return false;
    }
    let signal = if what == "dies" { Signal::KILL } else { Signal::STOP };
    kill_process(getpid(), signal).expect("one may signal oneself");
    true
}

/// The process. Where nobody starts it as one, there is nothing to do.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it is a node, which other tests start"]
async fn a_node_that_ends_or_stands_still_where_it_is_told() {
    let Some(file) = std::env::var_os(CONFIG).map(PathBuf::from) else { return };
    let config = Config::load_alone(&file).expect("a configuration");
    let orders = orders(&file);
    let hook = Hook::new(move |_node, point| {
        let obeys = obey(&orders, point);
        async move {
            if obeys {
                // A signal to a process may come to its other threads first: this one does nothing meanwhile.
                runtime::sleep(STOPPING).await;
            }
        }
    });
    let process = Process::open(config.data(), &config, Compiler::Here).expect("it opens");
    let process = process.with_service_hook(hook);
    let node = Node::start(&config, &process).await.expect("it starts");
    eprintln!("operators: {}", node.admin_url());
    println!("ready: {}", node.url());
    std::future::pending::<()>().await;
}

//! A network, a list of processes and a list of mounts of a test's own, where the machine allows it.
//!
//! A test that cuts nodes from each other starts itself again below `unshare`: what it does to packets and
//! mounts is seen by nobody else, and when it ends, however it ends, the system ends every process that
//! it started and forgets its rules and mounts. All nodes are on one loopback device, each with an
//! address of its own in 127.0.0.0/8, so that a rule can name them and no listener leaves the machine.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Tells the inner run that it is inside.
const INSIDE: &str = "CARILLON_FAULTS_INSIDE";

/// What `unshare` makes anew; the last lets the system end everything when the outer run ends.
const UNSHARE: [&str; 6] =
    ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"];

/// Where a test runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Inside: packets and mounts are its own.
    Inside,
    /// Nowhere of its own; why.
    Outside(String),
}

impl Place {
    /// Whether packets and mounts are the test's own.
    pub(crate) fn is_inside(&self) -> bool {
        *self == Self::Inside
    }
}

/// Runs `test` inside, if there can be an inside; it is the body of the test that is named `name`. The
/// inner run's output is this one's, and so is its end. `shown` lets the output through as it comes.
pub(crate) fn run(name: &str, shown: bool, test: impl FnOnce(Place)) {
    if std::env::var_os(INSIDE).is_some() {
        assert!(
            sh("ip", ["link", "set", "lo", "up"]).is_ok(),
            "the loopback device can be started"
        );
        return test(Place::Inside);
    }
    if let Err(reason) = possible() {
        let without = "partitions, small disks and whatever needs a network of its own";
        tests::without("network", &format!("{without}: {reason}"));
        return test(Place::Outside(reason));
    }
    let me = std::env::current_exe().expect("a test has an executable");
    // Its folders are removed even when it is killed.
    let folders = TempDir::with_prefix("carillon-faults-").expect("a folder can be made");
    let mut inner = Command::new("unshare");
    inner.args(UNSHARE).arg("--").arg(me).args([name, "--exact", "--nocapture"]);
    inner.env(INSIDE, "1").env("TMPDIR", folders.path()).stdin(Stdio::null());
    if shown {
        let status = inner.status().expect("unshare runs");
        assert!(status.success(), "the inner run of {name} failed");
    } else {
        let output = inner.output().expect("unshare runs");
        print!("{}", String::from_utf8_lossy(&output.stdout));
        print!("{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "the inner run of {name} failed");
    }
}

/// Whether there can be an inside, tried once in a small way.
fn possible() -> Result<(), String> {
    let script = "ip link set lo up && iptables -w -A INPUT -s 127.9.9.9 -j DROP && \
                  iptables -w -A OUTPUT -m owner --gid-owner 9 -j DROP && mount -t tmpfs none /mnt";
    let args = UNSHARE.into_iter().chain(["--", "sh", "-c", script]);
    sh("unshare", args).map(|_nothing| ()).map_err(|error| {
        format!("it needs root, `ip`, `iptables` and `unshare` (make faults-tools): {error}")
    })
}

/// Runs a command to its end; what it said on its error output, if it failed.
pub(crate) fn sh<S: AsRef<OsStr>>(
    command: &str,
    args: impl IntoIterator<Item = S>,
) -> Result<String, String> {
    let output = Command::new(command).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    Err(format!("{command} ended with {}: {last}", output.status))
}

//! What measurements share: percentiles, and what Linux says of a process.

use std::time::Duration;

/// What Linux counts processor time in.
const TICKS: f64 = 100.0;

/// So many files a measurement leaves for what is not a client.
const OTHER_FILES: u64 = 1_500;

/// How long things took.
#[derive(Clone, Debug, Default)]
pub struct Took(Vec<Duration>);

impl Took {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// All of another's.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What so many of a hundred did not exceed, in milliseconds; 0 of nothing.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let mut all = self.0.clone();
        all.sort_unstable();
        let at = (all.len() * percent).div_ceil(100).saturating_sub(1);
        all.get(at).copied().unwrap_or_default().as_secs_f64() * 1000.0
    }
}

/// Memory of a process that is resident, in KiB.
pub fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    let status = status.unwrap_or_else(|error| panic!("Linux tells of {process}: {error}"));
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or_else(|| panic!("no memory in {status}"))
}

/// Processor time of a process so far, in seconds.
pub fn processor_s(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    let stat = stat.unwrap_or_else(|error| panic!("Linux tells of {process}: {error}"));
    // What follows the name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap_or_else(|| panic!("no name in {stat}"));
    let number = |at: usize| {
        let field = fields.split_whitespace().nth(at).and_then(|field| field.parse::<f64>().ok());
        field.unwrap_or_else(|| panic!("no number {at} in {stat}"))
    };
    (number(11) + number(12)) / TICKS
}

/// Lets this process, and those it starts, have as many files open as it may; how many clients that is enough for.
pub fn clients_max() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Whoever may not raise it has what there is.
    _ = setrlimit(Resource::Nofile, limit);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Took, clients_max, processor_s, resident_kib};
    use std::time::Duration;

    #[test]
    fn a_percentile_is_one_of_what_was_measured() {
        let mut took = Took::default();
        assert!(took.percentile_ms(50).abs() < f64::EPSILON, "nothing took no time");
        for ms in (1..=100).rev() {
            took.add(Duration::from_millis(ms));
        }
        let near = |percent, ms: f64| (took.percentile_ms(percent) - ms).abs() < 1e-9;
        assert!(near(50, 50.0) && near(99, 99.0) && near(100, 100.0));
    }

    #[test]
    fn this_process_has_memory_and_processor_time() {
        let process = std::process::id();
        assert!(resident_kib(process) > 100 && processor_s(process) >= 0.0);
        assert!(clients_max() > 0);
    }
}

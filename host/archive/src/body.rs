//! What comes from a client: as many bytes as were said, and not too slowly.
//!
//! An upload takes one of few places on every member for as long as it goes on. So a client that says nothing is
//! given up, and so is one that sends a byte now and then, which would never be silent and never be done. Only
//! the time counts in which the client is waited for: what members or memory take is not its fault.

use std::time::Duration;

use bytes::Bytes;

use crate::{Body, Code, Refusal};

/// Bytes that must come in a second, over all of the upload: less than any line gives that objects are sent over.
const SLOWEST_BYTES: u64 = 512;

/// A body under way.
pub(crate) struct Coming<'a> {
    body: &'a mut dyn Body,
    /// Bytes that must still come.
    left: u64,
    came: u64,
    silence: Duration,
    /// How long it was waited for, all in all.
    waited: Duration,
}

impl<'a> Coming<'a> {
    /// So many bytes, of which each may be waited for so long.
    pub(crate) fn new(body: &'a mut dyn Body, size: u64, silence: Duration) -> Self {
        Self { body, left: size, came: 0, silence, waited: Duration::ZERO }
    }

    /// Bytes that must still come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes, which are some; `None` behind the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let (began, patience) = (runtime::now(), self.patience());
            let next = runtime::timeout(patience, self.body.next()).await;
            self.waited += runtime::now().saturating_duration_since(began);
            let next = next.map_err(|_late| {
                let detail = match patience < self.silence {
                    true => "the bytes come too slowly",
                    false => "nothing came for too long",
                };
                Refusal::not_committed(Code::Timeout, detail)
            })?;
            let bytes = match next {
                Some(Ok(bytes)) => bytes,
                Some(Err(ended)) => {
                    return Err(Refusal::not_committed(Code::SizeMismatch, ended.to_string()));
                }
                None if self.left == 0 => return Ok(None),
                None => {
                    let detail = format!("{} bytes fewer came than were said", self.left);
                    return Err(Refusal::not_committed(Code::SizeMismatch, detail));
                }
            };
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.left = self.left.checked_sub(length).ok_or_else(|| {
                Refusal::not_committed(Code::SizeMismatch, "more bytes came than were said")
            })?;
            self.came = self.came.saturating_add(length);
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// How long the next bytes may take: what came earns time, of which no more is given at once than a
    /// client may be silent.
    fn patience(&self) -> Duration {
        let earned = Duration::from_secs(self.came / SLOWEST_BYTES);
        self.silence.saturating_add(earned).saturating_sub(self.waited).min(self.silence)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use runtime::SimulatedClock;

    use super::*;
    use crate::Next;

    const SILENCE: Duration = Duration::from_secs(60);

    /// Sends so many bytes, again and again, each time after a while.
    struct Drip(usize, Duration);

    impl Body for Drip {
        fn next(&mut self) -> Next<'_> {
            Box::pin(async {
                runtime::sleep(self.1).await;
                Some(Ok(Bytes::from(vec![7; self.0])))
            })
        }
    }

    /// Runs it on a clock that goes where somebody waits for it; how long that took is told.
    fn run<T>(future: impl Future<Output = T>) -> (T, Duration) {
        let clock = SimulatedClock::new();
        let _entered = clock.enter();
        let (mut future, mut cx) = (pin!(future), Context::from_waker(Waker::noop()));
        let mut at = Duration::ZERO;
        loop {
            if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
                return (done, at);
            }
            at = clock.next().expect("it waits for the clock");
            clock.set(at);
        }
    }

    /// Takes all of a body.
    async fn all(mut body: Drip, size: u64) -> Result<u64, Refusal> {
        let mut coming = Coming::new(&mut body, size, SILENCE);
        while coming.left > 0 {
            coming.next().await?;
        }
        Ok(coming.came)
    }

    #[test]
    fn a_client_that_sends_nothing_is_given_up_after_the_silence() {
        let (done, took) = run(all(Drip(1, Duration::from_secs(3600)), 1000));
        assert_eq!(done.unwrap_err().code, Code::Timeout);
        assert_eq!(took, SILENCE);
    }

    /// An upload of which a byte came every minute was never silent, and never done.
    #[test]
    fn a_client_that_sends_a_byte_now_and_then_is_given_up_too() {
        let (done, took) = run(all(Drip(1, Duration::from_secs(50)), 1 << 20));
        let refused = done.unwrap_err();
        assert_eq!(
            (refused.code, refused.detail.as_str()),
            (Code::Timeout, "the bytes come too slowly")
        );
        assert_eq!(took, SILENCE, "the first byte, and then what is left of the silence");
    }

    #[test]
    fn a_client_may_be_slow_and_stand_still_for_as_long_as_the_silence() {
        // 1,024 bytes every 50 seconds are fewer than must come; 51,200 are enough, for hours.
        let (done, _) = run(all(Drip(1024, Duration::from_secs(50)), 1 << 20));
        assert_eq!(done.unwrap_err().code, Code::Timeout);
        let (done, took) = run(all(Drip(51_200, Duration::from_secs(50)), 51_200 * 300));
        assert_eq!(done.unwrap(), 51_200 * 300);
        assert_eq!(took, Duration::from_secs(300 * 50));
    }
}

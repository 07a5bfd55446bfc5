//! Several that do the same, of whom some are enough.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// One of several.
pub(crate) type Some1<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Waits until all are done; or, once `enough` of them are done well, so long for the others; or so long for
/// all. Who was not done by then has no result.
pub(crate) async fn gather<T>(
    mut all: Vec<Some1<'_, T>>,
    enough: usize,
    well: impl Fn(&T) -> bool,
    slack: Duration,
    longest: Duration,
) -> Vec<Option<T>> {
    let mut results: Vec<Option<T>> = all.iter().map(|_| None).collect();
    let mut longest = pin!(runtime::sleep(longest));
    let mut others: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
    poll_fn(move |cx| {
        for (one, result) in all.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(done) = one.as_mut().poll(cx)
            {
                *result = Some(done);
            }
        }
        let done = results.iter().flatten().count();
        if done == results.len() || longest.as_mut().poll(cx).is_ready() {
            return Poll::Ready(std::mem::take(&mut results));
        }
        if results.iter().flatten().filter(|one| well(one)).count() >= enough {
            let others = others.get_or_insert_with(|| Box::pin(runtime::sleep(slack)));
            if others.as_mut().poll(cx).is_ready() {
                return Poll::Ready(std::mem::take(&mut results));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn ready(value: bool) -> Some1<'static, bool> {
        Box::pin(std::future::ready(value))
    }

    fn never() -> Some1<'static, bool> {
        Box::pin(std::future::pending())
    }

    #[tokio::test]
    async fn the_slowest_is_waited_for_until_enough_are_done_and_then_not_for_long() {
        let all = vec![ready(true), ready(false), ready(true)];
        let done = gather(all, 2, |good| *good, LONG, LONG).await;
        assert_eq!(done, [Some(true), Some(false), Some(true)]);
        let all = vec![ready(true), never(), ready(true)];
        let done = gather(all, 2, |good| *good, Duration::ZERO, LONG).await;
        assert_eq!(done, [Some(true), None, Some(true)]);
        let all = vec![ready(true), never(), ready(false)];
        let done = gather(all, 2, |good| *good, Duration::ZERO, Duration::from_millis(1)).await;
        assert_eq!(done, [Some(true), None, Some(false)], "too few, and the longest is over");
    }
}

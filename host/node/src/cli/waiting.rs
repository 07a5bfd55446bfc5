//! What somebody at a shell is told while nothing comes: what is tried again, and for how long.

use std::time::Duration;

use client::{Client, Error};

use super::output;

/// So long nothing is said: a take-over that is nearly done needs no words.
const QUIET: Duration = Duration::from_secs(2);

/// Waits for an answer, and says why, each reason once.
pub(super) async fn answer<T>(
    client: &Client,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    wait(client, asked, Some("no answer yet")).await
}

/// The same for what may well take long.
pub(super) async fn news<T>(
    client: &Client,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    wait(client, asked, None).await
}

async fn wait<T>(
    client: &Client,
    asked: impl Future<Output = Result<T, Error>>,
    silence: Option<&str>,
) -> Result<T, Error> {
    tokio::pin!(asked);
    let mut told = None;
    loop {
        tokio::select! {
            biased;
            answered = &mut asked => return answered,
            () = runtime::sleep(QUIET) => {}
        }
        let why = client.trouble().or_else(|| silence.map(str::to_owned));
        if why.is_some() && why != told {
            let most = client.options().give_up.as_secs();
            let text = why.as_deref().unwrap_or_default();
            output::note(format_args!("carillon: waiting: {text} (for {most} s at most)"));
            told = why;
        }
    }
}

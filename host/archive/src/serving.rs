//! Bytes of a segment, for whoever asks: verified piece by piece, and a sequence's last only after its digests.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use replication::Stream;
use segment::archive::{At, Digesting, PartReading, Table, Told};

use crate::Part;
use crate::lane::FRAME_BYTES;
use crate::meters;
use crate::question::Said;
use crate::shared::Shared;
use crate::source::{Opened, PIECES_MAX, made};
use crate::spoken::say;

/// Serves a stream that asks for a range of a segment.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    at: At,
    part: Part,
    range: Range<u64>,
    mut stream: Stream,
) {
    let opened = match shared.served.try_acquire() {
        Ok(_one) => open(shared, &at, &part).await.map(|opened| (opened, _one)),
        Err(_busy) => Err("it gives as many segments as it can".to_owned()),
    };
    let ((reading, table), _one) = match opened {
        Ok(opened) => opened,
        Err(why) => {
            // If the asker is gone it does not need to know.
            drop(stream.send(&say(&Said::No { full: false, why }), &[]).await);
            stream.finish();
            return;
        }
    };
    let mut pieces = Pieces::new(&table, range);
    if stream.send(&say(&Said::Table(table)), &[]).await.is_err() {
        return;
    }
    let reading = Arc::new(reading);
    let (mut sending, mut receiving) = stream.split();
    let mut credit = PIECES_MAX;
    loop {
        if credit == 0 {
            // A reader that wants no more for so long keeps others from one of few places.
            match runtime::timeout(shared.config.stalled, receiving.next()).await {
                Ok(Ok(Some(_more))) => credit += 1,
                Ok(Ok(None) | Err(_)) => return,
                Err(_late) => {
                    meters::stalled("reader");
                    return;
                }
            }
        }
        credit -= 1;
        let sent = match pieces.next(&reading).await {
            Ok(None) => {
                sending.finish();
                // Until everything has arrived: a dropped half would cut it.
                let arrived = async { while let Ok(Some(_more)) = receiving.next().await {} };
                if runtime::timeout(shared.config.stalled, arrived).await.is_err() {
                    meters::stalled("reader");
                }
                return;
            }
            Ok(Some(piece)) => sending.send(&[0], &piece).await,
            Err(why) => {
                drop(sending.send(&[1], why.as_bytes()).await);
                sending.finish();
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// A segment that is whole here; otherwise why it is not.
pub(crate) async fn open(shared: &Shared, at: &At, part: &Part) -> Result<Opened, String> {
    let (engine, made) = (shared.engine.clone(), made(at, part));
    let opened = runtime::blocking(move || engine.part(made)).await;
    let reading = opened.ok_or("it is stopping")?.map_err(|error| error.to_string())?;
    let table = reading.table();
    let whole = table
        .iter()
        .fold(Table::EMPTY, |sum, told| sum.with(u64::from(told.size), told.md5, told.adler32));
    if whole == part.table && u32::try_from(table.len()) == Ok(part.sequences) {
        return Ok((reading, table));
    }
    Err("it does not have all of it".to_owned())
}

/// What is still to be given of a segment.
#[derive(Debug)]
pub(crate) struct Pieces {
    table: Vec<Told>,
    range: Range<u64>,
    /// The sequence under way, and where it begins.
    number: usize,
    begins: u64,
    /// The place in it.
    at: u32,
    /// Digests, if all of it is read.
    digesting: Option<Digesting>,
}

impl Pieces {
    pub(crate) fn new(table: &[Told], range: Range<u64>) -> Self {
        let table = table.to_vec();
        Self { table, range, number: 0, begins: 0, at: 0, digesting: None }
    }

    /// The next piece; `None` behind the last. What is wrong is told in words, and is owed from then on.
    pub(crate) async fn next(
        &mut self,
        reading: &Arc<PartReading>,
    ) -> Result<Option<Bytes>, String> {
        loop {
            let Some(told) = self.table.get(self.number).copied() else { return Ok(None) };
            let ends = self.begins + u64::from(told.size);
            if self.begins >= self.range.end {
                return Ok(None);
            }
            let inside =
                |at: u64| u32::try_from(at.saturating_sub(self.begins)).unwrap_or(u32::MAX);
            let from = inside(self.range.start).max(self.at);
            let until = inside(self.range.end.min(ends));
            if from >= until {
                (self.number, self.begins, self.at) = (self.number + 1, ends, 0);
                continue;
            }
            if from == 0 && until == told.size {
                self.digesting = Some(Digesting::new());
            }
            // Pieces end where those on the disk do, so that none is read twice.
            let step = u32::try_from(FRAME_BYTES).unwrap_or(u32::MAX);
            let end = ((from / step + 1) * step).min(until);
            let number = u32::try_from(self.number).unwrap_or(u32::MAX);
            let (reading, digesting) = (Arc::clone(reading), self.digesting.take());
            let read =
                runtime::blocking(move || piece(&reading, told, number, from..end, digesting));
            let (piece, digesting) = read.await.ok_or("it is stopping")??;
            self.digesting = digesting;
            self.at = end;
            return Ok(Some(piece));
        }
    }
}

fn piece(
    reading: &PartReading,
    told: Told,
    number: u32,
    range: Range<u32>,
    digesting: Option<Digesting>,
) -> Result<(Bytes, Option<Digesting>), String> {
    let last = range.end == told.size;
    let piece = reading.read(number, range).map_err(|error| error.to_string())?;
    let Some(mut digesting) = digesting else { return Ok((piece, None)) };
    digesting.push(&piece);
    if !last {
        return Ok((piece, Some(digesting)));
    }
    if digesting.finish() == (told.md5, told.adler32) {
        return Ok((piece, None));
    }
    reading.is_broken(number);
    Err(format!("sequence {number} has other digests"))
}

//! `created` as it stands in a registration: `YYYY-MM-DD HH:MM:SS`, UTC.
//!
//! The field has no room for a zone, and readers of one registry stand in several: only UTC lets them
//! compare two of them. It is for people to look at; nothing is decided by it.

/// Days from 1 March of the year 0 to 1 January 1970.
const DAYS_BEFORE_1970: u64 = 719_468;
/// Days in 400 years: after them the calendar repeats.
const DAYS_IN_ERA: u64 = 146_097;

/// `wall_ms`, Unix milliseconds, as text.
pub(crate) fn created(wall_ms: u64) -> String {
    let seconds = wall_ms / 1000;
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a day counted from 1 January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // Years that begin in March have their leap day last, so that months have fixed beginnings.
    let days = days + DAYS_BEFORE_1970;
    let in_era = days % DAYS_IN_ERA;
    let leaps = in_era / 1460 - in_era / 36_524 + in_era / 146_096;
    let year_of_era = (in_era - leaps) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = days / DAYS_IN_ERA * 400 + year_of_era + u64::from(month < 3);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::created;

    #[test]
    fn moments_have_their_dates() {
        let cases = [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_999, "2000-02-28 23:59:59"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (951_868_800_000, "2000-03-01 00:00:00"),
            (1_709_164_800_000, "2024-02-29 00:00:00"),
            (1_795_296_687_000, "2026-11-21 21:31:27"),
            (4_107_542_400_000, "2100-03-01 00:00:00"),
        ];
        for (ms, text) in cases {
            assert_eq!(created(ms), text, "{ms}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = String::new();
        for day in 0..60_000_u64 {
            let text = created(day * 86_400_000);
            assert!(text > last, "{last} then {text}");
            last = text;
        }
        assert_eq!(last, "2134-04-10 00:00:00");
    }
}

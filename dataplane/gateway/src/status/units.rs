//! Figures for people, at most eight characters wide.

use std::time::Duration;

/// A number with up to four digits and a factor of a thousand (`k`, `M`, `G`, `T`).
pub(crate) fn count(value: u64) -> String {
    scaled(value as f64, 1000.0, &["", " k", " M", " G", " T", " P", " E"])
}

/// Bytes, with factors of 1024.
pub(super) fn bytes(value: u64) -> String {
    scaled(value as f64, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

/// A rate, with factors of a thousand.
pub(crate) fn bits_per_second(value: f64) -> String {
    scaled(value, 1000.0, &[" bit/s", " kbit/s", " Mbit/s", " Gbit/s", " Tbit/s", " Pbit/s"])
}

fn scaled(value: f64, factor: f64, units: &[&str]) -> String {
    let mut value = value.max(0.0);
    let mut unit = 0;
    // 999.6 would be shown as 1000.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= factor;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{}", units[unit])
}

/// A time in its largest unit.
pub(crate) fn duration(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_their_unit() {
        let found = [0, 7, 999, 1000, 1234, 56_789, 999_499, 999_500, 1_000_000_000].map(count);
        assert_eq!(found, ["0", "7", "999", "1.00 k", "1.23 k", "56.8 k", "999 k", "1.00 M", "1.00 G"]);
        assert_eq!([0, 1023, 1536, 10 << 30].map(bytes), ["0 B", "1.00 KiB", "1.50 KiB", "10.0 GiB"]);
        assert_eq!(bits_per_second(1.25e9), "1.25 Gbit/s");
        assert_eq!(count(u64::MAX), "18.4 E");
        let times = [0, 119, 120, 7199, 7200, 200_000].map(|s| duration(Duration::from_secs(s)));
        assert_eq!(times, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 d"]);
    }
}

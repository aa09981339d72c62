//! The one clock reading a request is judged by, and the JOSE `NumericDate`.
//!
//! Everything is whole seconds. `iat` is whole seconds in practice (RFC 7519 §2 allows fractions, which are cut),
//! and so are the windows, the fence after a restart and the retention of replay claims; mixing in milliseconds
//! would let a proof outlive its claim by the fraction that one side counted and the other did not.

/// Seconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

impl UnixTime {
    /// Dates lie below 2^53, from which on a JSON number is no longer exact: 2^53 itself may have been written as 2^53 + 1.
    const END: f64 = 9_007_199_254_740_992.0;

    /// A time from whole seconds.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// This time and `seconds` more; stops at the ends of the range rather than wrapping round to the past.
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// This time less `seconds`; stops at the ends of the range.
    pub const fn minus(self, seconds: i64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// Seconds from `earlier` to this time; negative when `earlier` is the later one.
    pub const fn since(self, earlier: UnixTime) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// A `NumericDate` (RFC 7519 §2). A fraction is cut, never rounded up, so that `exp` is never later than the
    /// issuer said. Negative, infinite, NaN and anything from 2^53 on is no date.
    pub fn from_numeric_date(value: f64) -> Option<Self> {
        // The comparison is also what refuses NaN: no comparison with it holds.
        if (0.0..Self::END).contains(&value) { Some(Self(value as i64)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::UnixTime;

    #[test]
    fn numeric_dates_cut_fractions_and_refuse_what_is_no_date() {
        assert_eq!(UnixTime::from_numeric_date(1.9), Some(UnixTime::from_seconds(1)));
        assert_eq!(UnixTime::from_numeric_date(0.0), Some(UnixTime::from_seconds(0)));
        for no_date in [-1.0, -0.1, f64::NAN, f64::INFINITY, 1e300, 9_007_199_254_740_993_u64 as f64] {
            assert_eq!(UnixTime::from_numeric_date(no_date), None, "{no_date}");
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        let end = UnixTime::from_seconds(i64::MAX);
        assert_eq!(end.plus(1), end);
        assert_eq!(UnixTime::from_seconds(i64::MIN).minus(1).seconds(), i64::MIN);
        assert_eq!(end.since(UnixTime::from_seconds(i64::MIN)), i64::MAX);
    }
}

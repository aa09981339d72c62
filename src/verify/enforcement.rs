//! What becomes of a token that is bound to nothing (`routes[].enforcement`).
//!
//! The question is asked in one place, for one pair: `proof`, a token without `cnf` as a plain bearer. A bound token never comes here, so no
//! configuration can loosen one; and what fails any other check is refused before or after it as everywhere.

use super::rejection::Rejection;

/// Whether a route refuses tokens that are bound to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// It does.
    #[default]
    Enforce,
    /// It lets them through and says so, in the log, the metrics and the report: for the time in which clients learn to bind.
    ReportOnly,
}

/// Evidence that a token is bound to nothing and that its route lets it through all the same. Whoever presents such a token has proven nothing: it
/// may have been stolen. Only [`Enforcement::admit_unbound`] makes one.
#[derive(Debug)]
#[must_use]
pub struct Unenforced(());

impl Enforcement {
    /// The verdict on a token that is bound to nothing. Whether it is such a token is `proof`'s to know.
    pub(super) const fn admit_unbound(self) -> Result<Unenforced, Rejection> {
        match self {
            Enforcement::Enforce => Err(Unenforced::REFUSAL),
            Enforcement::ReportOnly => Ok(Unenforced(())),
        }
    }

    /// The word of the configuration, the log and the report.
    pub const fn name(self) -> &'static str {
        match self {
            Enforcement::Enforce => "enforce",
            Enforcement::ReportOnly => "report-only",
        }
    }
}

impl Unenforced {
    /// How such a request is refused where its route is enforced.
    pub const REFUSAL: Rejection = Rejection::TokenUnbound;

    /// How the request would have been refused.
    pub const fn would_refuse(&self) -> Rejection {
        Self::REFUSAL
    }
}

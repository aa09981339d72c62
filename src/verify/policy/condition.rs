//! A condition in the Common Expression Language (`require.cel`), in builds with the feature `cel`.

#[cfg(feature = "cel")]
pub use compiled::Condition;
#[cfg(not(feature = "cel"))]
pub use none::Condition;

#[cfg(feature = "cel")]
mod compiled;

/// Without the feature there is no condition, so there is nothing to evaluate.
#[cfg(not(feature = "cel"))]
mod none {
    use crate::verify::request::RequestFacts;
    use crate::verify::time::UnixTime;
    use crate::verify::token::VerifiedToken;

    /// A condition: none can be made.
    #[derive(Clone, Debug)]
    pub enum Condition {}

    impl Condition {
        /// Stack, in bytes, for compiling.
        pub const STACK: usize = 64 << 10;

        /// Compiles a condition.
        ///
        /// # Errors
        /// Always: this build cannot.
        pub fn new(_: &str) -> Result<Self, String> {
            Err("this build has no CEL; build it with `--features cel`".to_owned())
        }

        pub(in super::super) const fn holds(
            &self,
            _: &VerifiedToken,
            _: &RequestFacts<'_>,
            _: UnixTime,
        ) -> bool {
            match *self {}
        }
    }
}

//! `require.cel` of a route: compiled, or complained of.

use std::thread;

use super::complaint::Complaints;
use super::decode::Setting;
use super::values::Text;
use crate::verify::policy::Condition;

/// The condition; `None` after a complaint.
pub(super) fn condition(written: &Setting<Text>, complaints: &mut Complaints) -> Option<Condition> {
    compiled(&written.0)
        .map_err(|why| complaints.add_with(written.span, "this condition cannot be compiled", why))
        .ok()
}

/// On a stack of its own, of which no more is taken than a text needs: one that is deep enough would otherwise end the process, at a reload too.
fn compiled(text: &str) -> Result<Condition, String> {
    let text = text.to_owned();
    let compiling = thread::Builder::new().stack_size(Condition::STACK).spawn(move || Condition::new(&text));
    let compiled = compiling.map_err(|error| error.to_string())?.join();
    compiled.unwrap_or_else(|_| Err("the compiler broke down over it".to_owned()))
}

#[cfg(all(test, feature = "cel"))]
mod tests {
    use super::compiled;

    /// However deep it is, it is judged.
    #[test]
    fn deep_ones() {
        let around =
            |open: &str, close: &str, times| format!("{}now > 1{}", open.repeat(times), close.repeat(times));
        for wrong in [
            around("(", ")", 2000),
            around("[", "]", 2000),
            around("1+", "", 2000),
            around("", ".a", 2000),
            around("true?", ":1", 800),
            around("-(", ")", 1300),
            around("!(", ")", 1300),
        ] {
            assert!(compiled(&wrong).is_err(), "{wrong}");
        }
        // Signs in a row are one.
        assert!(compiled(&around("!", "", 4000)).is_ok());
    }
}

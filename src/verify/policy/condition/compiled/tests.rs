use super::{Condition, LENGTH};

#[test]
fn what_is_compiled() {
    for good in [
        "claims.tier >= 2",
        "request.method == 'GET' || 'staff' in claims.groups",
        "claims.groups.exists(g, g.startsWith(request.path)) && now > 0",
        "has(claims.act) ? claims.act.sub == 'x' : true",
        "claims.roles.all(r, scopes.exists(s, s == r))",
    ] {
        assert!(Condition::new(good).is_ok(), "{good}: {:?}", Condition::new(good));
    }
}

/// What can be found at load is not left for the first request.
#[test]
fn what_is_not() {
    let long = format!("now > {}", "1".repeat(LENGTH));
    for (wrong, why) in [
        ("", "rror"),
        ("claims.tier >", "rror"),
        ("claim.tier == 2", "there is no `claim`"),
        ("claims.groups.exists(g, h == 1)", "there is no `h`"),
        ("g == 1 || claims.groups.exists(g, g == 1)", "there is no `g`"),
        ("claims.email.endswith('x')", "there is no function `endswith`"),
        ("1 == 1", "names nothing"),
        (long.as_str(), "longer than"),
    ] {
        let error = Condition::new(wrong).expect_err(wrong);
        assert!(error.contains(why), "{wrong}: {error}");
    }
}

proptest::proptest! {
    /// Whatever an operator types, a reload goes on.
    #[test]
    fn compiling_never_panics(text in r#"[a-z0-9.()\[\]{}"'\\?:<>=!&|+*/%, \n-]{0,60}"#) {
        let _ = Condition::new(&format!("now > 0 && {text}"));
        let _ = Condition::new(&text);
    }
}

use super::{Condition, LENGTH};

#[test]
fn what_is_compiled() {
    for good in [
        "claims.tier >= 2",
        "request.method == 'GET' || 'staff' in claims.groups",
        "claims.groups.exists(g, g.startsWith(request.path)) && now > 0",
        "has(claims.act) ? claims.act.sub == 'x' : true",
        "claims.roles.all(r, scopes.exists(s, s == r))",
        // One after the other, however many.
        "claims.a.filter(x, x > 1).map(x, x + 1).filter(x, x > 2).exists(x, claims.b.all(y, y != x))",
        "request.path.matches('^/a') && matches(request.path, r'\\d')",
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
        ("claims.a.all(x, claims.b.exists(y, claims.c.all(z, x + y != z)))", "more than 2 deep"),
        ("claims.a.all(x, [x].map(y, claims.b.filter(z, z == y)) != [])", "more than 2 deep"),
        ("request.path.matches(claims.pattern)", "a text of its own"),
        ("matches(request.path, claims.pattern)", "a text of its own"),
        ("request.path.matches('^' + claims.sub)", "a text of its own"),
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

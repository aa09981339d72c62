//! What a condition can name, and how it is decided.
//!
//! It is compiled at load. For each request only what it names is put together. It lets a request through by being `true`: any other value refuses, and so does an
//! error while it is evaluated, such as a claim that is not there.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr};
use cel::{Context, Env, Program, Value};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::super::super::claim_value::ClaimValue;
use super::super::super::credential::DPOP;
use super::super::super::request::RequestFacts;
use super::super::super::time::UnixTime;
use super::super::super::token::VerifiedToken;

/// The language's own functions and macros.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));
const FUNCTIONS: [&str; 13] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "dyn",
    "type",
];
/// The longest condition, in bytes, and how deep its parts may lie in each other: each level takes stack of the thread that evaluates it.
const LENGTH: usize = 4096;
const DEPTH: usize = 32;
/// How deep loops (`all`, `exists`, `map`, `filter`) may lie in each other. Callers decide how long the lists are, of up to 512 elements: two are a quarter of a million steps,
/// three would keep a thread for minutes.
const LOOPS: usize = 2;
/// Doubles up to here are exact, so those that are whole become integers: in CEL that is how `2` is written.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// What a condition can name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Claims,
    Scopes,
    Request,
    Now,
}

impl Name {
    const ALL: [Name; 4] = [Name::Claims, Name::Scopes, Name::Request, Name::Now];

    const fn text(self) -> &'static str {
        match self {
            Name::Claims => "claims",
            Name::Scopes => "scopes",
            Name::Request => "request",
            Name::Now => "now",
        }
    }

    fn value(self, token: &VerifiedToken, facts: &RequestFacts<'_>, now: UnixTime) -> Value {
        match self {
            Name::Claims => claims(token),
            Name::Scopes => {
                let scopes = token.scope().unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
                scopes.map(Value::from).collect::<Vec<_>>().into()
            }
            Name::Request => request(facts),
            Name::Now => Value::Int(now.seconds()),
        }
    }
}

/// A compiled condition, over
/// - `claims`: every claim of the token but `cnf` and `nbf`, by name; `aud` is a list, and what is a whole number is an integer,
/// - `scopes`: the list of its scopes,
/// - `request`: `method`, `host`, `path` and `query` as strings, and `headers`: lists of strings by lower-case name, all but `authorization` and `dpop`,
/// - `now`: seconds since 1970.
#[derive(Clone)]
pub struct Condition(Arc<Compiled>);

struct Compiled {
    program: Program,
    names: Vec<Name>,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condition(…)")
    }
}

impl Condition {
    /// Stack, in bytes, for any text that is not too long.
    pub const STACK: usize = 256 << 20;

    /// Compiles a condition. Types are not checked before it is evaluated. The parser goes into a text as deep as it is, so who does not know the text calls this
    /// with [`Condition::STACK`] bytes of stack.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > LENGTH {
            return Err(format!("it is longer than {LENGTH} bytes"));
        }
        let program = LANGUAGE.compile(text).map_err(|errors| {
            let errors = errors.to_string();
            errors.lines().next().unwrap_or_default().trim_start_matches("ERROR: <input>:").to_owned()
        })?;
        // What nobody has would refuse every request, and be noticed by the first.
        if let Some(unknown) = program.references().functions().into_iter().find(|name| {
            // Operators, and what macros become, are no names that anyone can write.
            name.starts_with(|first: char| first.is_ascii_alphabetic()) && !FUNCTIONS.contains(name)
        }) {
            return Err(format!("there is no function `{unknown}`"));
        }
        let mut survey = Survey::default();
        survey.look(program.expression(), 1);
        if survey.deepest > DEPTH {
            return Err(format!("its parts lie more than {DEPTH} deep in each other"));
        }
        if survey.most_loops > LOOPS {
            return Err(format!("its loops lie more than {LOOPS} deep in each other"));
        }
        if survey.has_foreign_pattern {
            return Err(
                "the pattern of `matches` is not a text of its own, but whoever sends it decides".to_owned()
            );
        }
        let named = |text: &str| Name::ALL.into_iter().find(|name| name.text() == text);
        if let Some(unknown) = survey.free.iter().find(|text| named(text).is_none()) {
            return Err(format!("there is no `{unknown}`, but claims, scopes, request and now"));
        }
        let names: Vec<Name> =
            Name::ALL.into_iter().filter(|name| survey.free.contains(&name.text())).collect();
        if names.is_empty() {
            return Err("it names nothing of the token or the request, so it decides nothing".to_owned());
        }
        Ok(Self(Arc::new(Compiled { program, names })))
    }

    /// Whether it is true of this request.
    pub(in super::super) fn holds(
        &self,
        token: &VerifiedToken,
        facts: &RequestFacts<'_>,
        now: UnixTime,
    ) -> bool {
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        for name in &self.0.names {
            context.add_variable_from_value(name.text(), name.value(token, facts, now));
        }
        matches!(self.0.program.execute(&context), Ok(Value::Bool(true)))
    }
}

/// What an expression takes from outside, and how deep it is.
#[derive(Default)]
struct Survey<'e> {
    free: Vec<&'e str>,
    /// Names of a macro's own, as in `exists`.
    bound: Vec<&'e str>,
    deepest: usize,
    /// Around what is looked at, and the most there were.
    loops: usize,
    most_loops: usize,
    /// A pattern of `matches` that is no text: compiling one of a few bytes can take as long as thousands of requests.
    has_foreign_pattern: bool,
}

impl<'e> Survey<'e> {
    fn look(&mut self, expression: &'e IdedExpr, depth: usize) {
        self.deepest = self.deepest.max(depth);
        let below = depth + 1;
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                if !self.bound.contains(&name.as_str()) {
                    self.free.push(name);
                }
            }
            Expr::Call(call) => {
                // It is the last one, in `text.matches(pattern)` and in `matches(text, pattern)`.
                self.has_foreign_pattern |= call.func_name == "matches"
                    && !matches!(call.args.last().map(|pattern| &pattern.expr), Some(Expr::Literal(_)));
                call.target.iter().for_each(|target| self.look(target, below));
                call.args.iter().for_each(|argument| self.look(argument, below));
            }
            Expr::Comprehension(each) => {
                self.look(&each.iter_range, below);
                self.look(&each.accu_init, below);
                let outside = self.bound.len();
                self.bound.extend([each.iter_var.as_str(), each.accu_var.as_str()]);
                self.bound.extend(each.iter_var2.as_deref());
                self.loops += 1;
                self.most_loops = self.most_loops.max(self.loops);
                for inside in [&each.loop_cond, &each.loop_step, &each.result] {
                    self.look(inside, below);
                }
                self.loops -= 1;
                self.bound.truncate(outside);
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.look(element, below)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.look_at_entry(entry, below)),
            Expr::Struct(object) => object.entries.iter().for_each(|entry| self.look_at_entry(entry, below)),
            Expr::Select(select) => self.look(&select.operand, below),
        }
    }

    fn look_at_entry(&mut self, entry: &'e IdedEntryExpr, depth: usize) {
        match &entry.expr {
            EntryExpr::StructField(field) => self.look(&field.value, depth),
            EntryExpr::MapEntry(entry) => {
                self.look(&entry.key, depth);
                self.look(&entry.value, depth);
            }
        }
    }
}

fn claims(token: &VerifiedToken) -> Value {
    let texts = [("iss", Some(token.issuer())), ("sub", token.subject()), ("client_id", token.client_id())];
    let texts = texts.into_iter().chain([("jti", token.jti()), ("scope", token.scope())]);
    let texts = texts.filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?))));
    let dates = [("exp", Some(token.expires())), ("iat", token.issued_at())];
    let dates =
        dates.into_iter().filter_map(|(name, date)| Some((name.to_owned(), Value::Int(date?.seconds()))));
    let others = token.other_claims().map(|(name, claim)| (name.to_owned(), value(claim)));
    let mut all: HashMap<String, Value> = texts.chain(dates).chain(others).collect();
    all.insert("aud".to_owned(), token.audiences().to_vec().into());
    all.into()
}

fn value(claim: &ClaimValue) -> Value {
    match claim {
        ClaimValue::Null => Value::Null,
        ClaimValue::Boolean(truth) => Value::Bool(*truth),
        ClaimValue::Number(number) if number.fract() == 0.0 && number.abs() <= EXACT => {
            Value::Int(*number as i64)
        }
        ClaimValue::Number(number) => Value::Float(*number),
        ClaimValue::Text(text) => (**text).into(),
        ClaimValue::List(elements) => elements.iter().map(value).collect::<Vec<_>>().into(),
        ClaimValue::Members(members) => {
            let members = members.iter().map(|(name, member)| (name.to_string(), value(member)));
            members.collect::<HashMap<_, _>>().into()
        }
    }
}

fn request(facts: &RequestFacts<'_>) -> Value {
    let target = facts.target;
    HashMap::from([
        ("method".to_owned(), Value::from(facts.method.as_str())),
        ("host".to_owned(), target.origin.host().into()),
        ("path".to_owned(), target.path.as_str().into()),
        ("query".to_owned(), target.query.as_deref().unwrap_or_default().into()),
        ("headers".to_owned(), headers(facts.headers)),
    ])
    .into()
}

/// What is no UTF-8 in a line is replaced, not left out: a condition that forbids a header would not see it.
fn headers(headers: &HeaderMap) -> Value {
    let mut all: HashMap<String, Vec<String>> = HashMap::new();
    for (name, line) in headers.iter().filter(|(name, _)| **name != AUTHORIZATION && **name != DPOP) {
        let line = String::from_utf8_lossy(line.as_bytes()).into_owned();
        all.entry(name.as_str().to_owned()).or_default().push(line);
    }
    all.into()
}

#[cfg(test)]
mod tests;

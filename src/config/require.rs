//! What is wrong with a route's `require` beyond how it is written, and the policy it becomes.

use super::complaint::{Complaints, quoted};
use super::condition::condition;
use super::decode::{Decode, List, Setting, refuse_kind};
use super::document::{Node, Value};
use super::values::Text;
use super::{file, mcp, route_file};
use crate::verify::claim_value::{ClaimPath, EXACT};
use crate::verify::enforcement::Enforcement;
use crate::verify::policy::{Authentication, ClaimRule, ClaimTest, Listed, Literal, Pages, Pattern, Policy};

/// Claims that mean something to the gateway, and the setting that asks for them.
const OWN_SETTINGS: [(&str, &str); 10] = [
    ("scope", "`scopes` or `any_scopes`"),
    ("client_id", "`clients`"),
    ("sub", "`subjects`"),
    ("aud", "`audiences`"),
    ("cnf", "`binding`"),
    ("iss", "`issuer`"),
    ("jti", "nothing: it is another one in each token"),
    ("exp", "the issuer's `leeway`"),
    ("nbf", "the issuer's `leeway`"),
    ("iat", "the issuer's `leeway`"),
];

/// Who may use a route.
#[derive(Debug)]
pub enum Access {
    /// `public: true`
    Public,
    /// `require`
    Bound(Box<Policy>),
}

impl Access {
    /// What the route does with tokens that are bound to nothing. A public one looks at none.
    pub const fn enforcement(&self) -> Enforcement {
        match self {
            Access::Public => Enforcement::Enforce,
            Access::Bound(policy) => policy.enforcement,
        }
    }
}

/// A value as it is written; `None` after a complaint, so that it is not said to be missing as well.
#[derive(Clone, Debug)]
pub(super) struct WrittenLiteral(Option<Literal>);

impl Decode for WrittenLiteral {
    fn decode(node: &Node, complaints: &mut Complaints) -> Option<Self> {
        Some(Self(literal(node, complaints)))
    }
}

/// Without quotes a number is a number and `true` is true; in quotes each is a text. Claims of another type never equal it, so a doubtful one is refused.
fn literal(node: &Node, complaints: &mut Complaints) -> Option<Literal> {
    let Value::Scalar(scalar) = &node.value else {
        return refuse_kind(node, "a single value", complaints);
    };
    let text = scalar.text.as_str();
    if !scalar.plain {
        return Some(Literal::Text(text.to_owned()));
    }
    if text == "true" || text == "false" {
        return Some(Literal::Boolean(text == "true"));
    }
    // JSON's own idea of a number: what is written otherwise, `0x10` or `007`, is a text there.
    if let Ok(number) = serde_json::from_str::<f64>(text) {
        if number.abs() > EXACT {
            let written = scalar.before_replacement.as_deref().unwrap_or(text);
            let mend = "as a claim it would equal its neighbours; have the issuer write a text";
            complaints.add_with(
                node.span,
                format!("{} is not exact as a JSON number", quoted(written)),
                mend,
            );
            return None;
        }
        return Some(Literal::Number(number));
    }
    Text::decode(node, complaints).map(|text| Literal::Text(text.0))
}

/// The policy of a route that is not public.
pub(super) fn policy(route: &route_file::Route, dpop: &file::Dpop, complaints: &mut Complaints) -> Policy {
    let route_file::Require {
        binding,
        scopes,
        audiences,
        nonce,
        any_scopes,
        clients,
        subjects,
        claims,
        authorization_details,
        acr,
        max_age,
        origins,
        mcp,
        cel,
        // It is judged with the token, before there is a policy to ask.
        issuer: _,
    } = &route.require.value;
    Policy {
        enforcement: route.enforcement.value,
        scopes: scopes.items.iter().map(|scope| scope.0.clone()).collect(),
        any_scopes: any_scopes.iter().flat_map(|list| &list.items).map(|scope| scope.0.clone()).collect(),
        audiences: texts(audiences),
        clients: listed(clients.as_ref(), complaints),
        subjects: listed(subjects.as_ref(), complaints),
        claims: claims
            .iter()
            .flat_map(|list| &list.items)
            .filter_map(|claim| rule(claim, complaints))
            .collect(),
        authorization_details: authorization_details.as_ref().map_or_else(Vec::new, |list| texts(list)),
        authentication: Authentication {
            acr: acr.iter().flat_map(|list| &list.items).map(|acr| acr.0.clone()).collect(),
            max_age: max_age.as_ref().map(|max_age| max_age.0),
        },
        pages: origins.as_ref().map_or(Pages::Any, |origins| {
            Pages::Of(origins.items.iter().map(|origin| origin.to_string()).collect())
        }),
        mcp: mcp.as_ref().map(|mcp| Box::new(mcp::mcp(mcp, complaints))),
        condition: cel.as_ref().and_then(|written| condition(written, complaints)),
        ..Policy::new(binding.value, nonce.as_ref().map_or(dpop.nonce.value, |nonce| nonce.value))
    }
}

fn texts<const LEAST: usize>(list: &List<Text, LEAST>) -> Vec<String> {
    list.items.iter().map(|text| text.0.clone()).collect()
}

fn listed(written: Option<&Setting<List<Text, 1>>>, complaints: &mut Complaints) -> Listed {
    let Some(written) = written else { return Listed::Anyone };
    for (position, item) in written.items.iter().enumerate() {
        if written.items[..position].iter().any(|before| before.value == item.value) {
            complaints.add(item.span, "this stands here twice");
        }
    }
    Listed::one_of(texts(written))
}

/// Where a claim is, as `claim` and the settings of `forward.claims` are written.
pub(super) fn claim_path(claim: &Setting<Text>, complaints: &mut Complaints) -> Option<ClaimPath> {
    let path = ClaimPath::read(&claim.0);
    if path.is_none() {
        let mend =
            "a name, or `/` and names with `/` between them; in these `~1` is a slash and `~0` a tilde";
        complaints.add_with(claim.span, format!("{} is no JSON pointer", quoted(&claim.0)), mend);
    }
    path
}

fn rule(written: &Setting<route_file::Claim>, complaints: &mut Complaints) -> Option<ClaimRule> {
    const MEND: &str = "exactly one of `equals`, `one_of` and `matches`";
    let route_file::Claim { claim, equals, one_of, matches } = &written.value;
    let claim = claim.as_ref()?;
    let path = claim_path(claim, complaints)?;
    if let Some((name, setting)) = OWN_SETTINGS.iter().find(|(name, _)| *name == path.name()) {
        let message = format!("`{name}` means something to the gateway itself");
        complaints.add_with(claim.span, message, format!("what asks for it is {setting}"));
        return None;
    }
    let test = match (equals, one_of, matches) {
        (Some(equals), None, None) => ClaimTest::OneOf(vec![equals.0.clone()?]),
        (None, Some(one_of), None) => {
            ClaimTest::OneOf(one_of.items.iter().filter_map(|literal| literal.0.clone()).collect())
        }
        (None, None, Some(pattern)) => match Pattern::new(&pattern.0) {
            Ok(pattern) => ClaimTest::Matches(pattern),
            Err(error) => {
                // The crate draws a picture; its last line says what is wrong.
                let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                let message = format!("{} is no pattern that is taken here", quoted(&pattern.0));
                complaints.add_with(pattern.span, message, why.to_owned());
                return None;
            }
        },
        _ => {
            complaints.add_with(written.span, "not one test of this claim", MEND);
            return None;
        }
    };
    Some(ClaimRule { path, test })
}

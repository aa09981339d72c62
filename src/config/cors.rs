//! What is wrong with a route's `cors` beyond how it is written, and what it becomes.

use http::HeaderName;

use super::complaint::Complaints;
use super::decode::{FromText, Setting, Wrong};
use super::{Cors, CorsOrigins, route_file};
use crate::verify::htu::Origin;

/// An origin of pages, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PageOrigin {
    Any,
    This(Origin),
}

impl FromText for PageOrigin {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        match text {
            "*" => Ok(PageOrigin::Any),
            // Sandboxed frames, files and redirects all say it: to list it is to list everyone, and `*` says so aloud.
            "null" => Err(Wrong::new("is what pages without an origin say", "write the page's own origin")),
            _ if text.contains('*') => {
                Err(Wrong::new("is a pattern", "write each origin; `*` alone stands for all of them"))
            }
            _ => Origin::from_text(text).map(PageOrigin::This),
        }
    }
}

impl FromText for HeaderName {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        // With credentials `*` is the name of a header (Fetch §4.8), and never does it stand for Authorization.
        if text == "*" {
            return Err(Wrong::new("does not stand for every header here", "write their names"));
        }
        HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| Wrong::new("is no header name", "for example `content-type`"))
    }
}

/// A page that may read answers and whose requests are refused can do nothing; and whoever lets every page read must not think that some are kept out.
pub(super) fn judge_pages(route: &route_file::Route, complaints: &mut Complaints) {
    let (Some(cors), Some(listed)) = (&route.cors, &route.require.origins) else { return };
    let pages = cors.origins.iter().flat_map(|origins| &origins.items);
    let kept_out = |page: &&Setting<PageOrigin>| match &page.value {
        PageOrigin::Any => true,
        PageOrigin::This(origin) => !listed.items.iter().any(|one| one.value == *origin),
    };
    for page in pages.filter(kept_out).filter(|_| listed.whole) {
        complaints.add_with(
            page.span,
            "pages that `require.origins` does not list can send nothing here",
            "list the same origins in both",
        );
    }
}

/// The rules as written, judged. `None` after a complaint.
pub(super) fn cors(written: &Setting<route_file::Cors>, complaints: &mut Complaints) -> Option<Cors> {
    let route_file::Cors { origins, headers, expose, credentials, max_age } = &written.value;
    let origins = origins.as_ref()?;
    let any = origins.items.iter().find(|origin| origin.value == PageOrigin::Any);
    if let Some(any) = any {
        if origins.items.len() > 1 {
            complaints.add_with(any.span, "`*` is every origin", "leave it out, or all the others");
        }
        if credentials.value {
            let mend = "list the origins, or leave `credentials` out: tokens and proofs do not need it";
            complaints.add_with(
                credentials.span,
                "with `*` any page could use a visitor's cookies and certificates",
                mend,
            );
        }
    }
    let listed = origins.items.iter().filter_map(|origin| match &origin.value {
        PageOrigin::Any => None,
        PageOrigin::This(origin) => Some(origin.clone()),
    });
    Some(Cors {
        origins: if any.is_some() { CorsOrigins::Any } else { CorsOrigins::Listed(listed.collect()) },
        headers: headers.values(),
        expose: expose.values(),
        credentials: credentials.value,
        max_age: max_age.0,
    })
}

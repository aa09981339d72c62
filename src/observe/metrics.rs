//! Numbers for Prometheus.
//!
//! Labels come from the configuration (route names) and from the tables of rejections and faults; none from a caller.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::verify::rejection::Rejection;

/// The labels of a request that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    route: Arc<str>,
    outcome: &'static str,
}

/// What came of an attempt to reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// Another configuration is in force.
    Applied,
    /// It was refused, and the old one stays.
    Refused,
    /// It is the same to the byte.
    Unchanged,
}

impl Reloaded {
    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Reloaded::Applied => "applied",
            Reloaded::Refused => "refused",
            Reloaded::Unchanged => "unchanged",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadOutcome {
    outcome: &'static str,
}

/// The labels of a connection that was closed before it could carry a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// The labels of a request that a report-only route has let through.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Unenforced {
    route: Arc<str>,
    would_refuse: &'static str,
}

/// Everything that is counted. `/metrics` reads it.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Outcome, Counter<u64, AtomicU64>>,
    reloads: Family<ReloadOutcome, Counter<u64, AtomicU64>>,
    applied: Gauge,
    unenforced: Family<Unenforced, Counter<u64, AtomicU64>>,
    connections_refused: Family<Reason, Counter<u64, AtomicU64>>,
    no_route: Arc<str>,
}

/// A number that another part keeps: once, for each of something, or as a histogram.
#[derive(Debug)]
pub struct Kept<'n> {
    name: &'n str,
    help: &'n str,
    kind: Kind,
    samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One line of it.
#[derive(Debug)]
struct Sample {
    /// After the name.
    suffix: &'static str,
    label: Option<(&'static str, Arc<str>)>,
    value: f64,
}

impl Sample {
    const fn plain(value: f64) -> Self {
        Self { suffix: "", label: None, value }
    }
}

impl<'n> Kept<'n> {
    /// One number. What only grows has a name that ends in `_total`, here and below.
    pub fn one(name: &'n str, help: &'n str, value: u64) -> Self {
        Self::of(name, help, vec![Sample::plain(value as f64)])
    }

    /// One for each upstream, by its name in the configuration.
    pub fn by_upstream(name: &'n str, help: &'n str, values: impl Iterator<Item = (Arc<str>, u64)>) -> Self {
        Self::by("upstream", name, help, values.map(|(upstream, value)| (upstream, value as f64)))
    }

    /// One for each of something that has this label. Nothing that a caller sent may be one.
    pub fn by(
        label: &'static str,
        name: &'n str,
        help: &'n str,
        values: impl Iterator<Item = (Arc<str>, f64)>,
    ) -> Self {
        let samples = values.map(|(of, value)| Sample { suffix: "", label: Some((label, of)), value });
        Self::of(name, help, samples.collect())
    }

    /// A histogram: how many lay within each bound and beyond the one before it, the last those beyond all; and the sum of all.
    pub fn histogram(name: &'n str, help: &'n str, bounds: &[f64], counts: &[u64], sum: f64) -> Self {
        let bounds = bounds.iter().map(|bound| bound.to_string()).chain(["+Inf".to_owned()]);
        let mut samples: Vec<_> = bounds
            .zip(counts.iter().scan(0, |all, count| {
                *all += count;
                Some(*all)
            }))
            .map(|(bound, within)| Sample {
                suffix: "_bucket",
                label: Some(("le", bound.into())),
                value: within as f64,
            })
            .collect();
        let all: u64 = counts.iter().sum();
        samples.push(Sample { suffix: "_count", ..Sample::plain(all as f64) });
        samples.push(Sample { suffix: "_sum", ..Sample::plain(sum) });
        Self { name, help, kind: Kind::Histogram, samples }
    }

    fn of(name: &'n str, help: &'n str, samples: Vec<Sample>) -> Self {
        let kind = if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
        Self { name, help, kind, samples }
    }

    fn write(&self, text: &mut String) {
        let Self { name, help, kind, samples } = self;
        // In OpenMetrics a counter's samples are named so, and its family without it.
        let (family, kind) = match kind {
            Kind::Counter => (name.trim_end_matches("_total"), "counter"),
            Kind::Gauge => (*name, "gauge"),
            Kind::Histogram => (*name, "histogram"),
        };
        text.push_str(&format!("# HELP holdfast_{family} {help}.\n# TYPE holdfast_{family} {kind}\n"));
        for Sample { suffix, label, value } in samples {
            let label = label.as_ref().map_or(String::new(), |(label, of)| {
                // OpenMetrics, "ABNF": these three are escaped in a label's value.
                let of = of.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
                format!("{{{label}=\"{of}\"}}")
            });
            text.push_str(&format!("holdfast_{name}{suffix}{label} {value}\n"));
        }
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("holdfast");
        let requests = Family::default();
        registry.register(
            "requests",
            "Requests by route and outcome: forwarded, or the reason of a refusal or failure",
            requests.clone(),
        );
        let unenforced = Family::default();
        registry.register(
            "requests_unenforced",
            "Requests that report-only routes have let through, by what would have refused them",
            unenforced.clone(),
        );
        let (reloads, applied) = (Family::default(), Gauge::default());
        registry.register("reloads", "Attempts to reload the configuration, by outcome", reloads.clone());
        registry.register_with_unit(
            "configuration_applied_timestamp",
            "When the configuration in force was applied, since 1970",
            Unit::Seconds,
            applied.clone(),
        );
        // A counter that appears with its first event hides that event from whoever looks at the increase.
        for outcome in [Reloaded::Applied, Reloaded::Refused, Reloaded::Unchanged] {
            drop(reloads.get_or_create(&ReloadOutcome { outcome: outcome.label() }));
        }
        let connections_refused = Family::default();
        registry.register(
            "connections_refused",
            "Connections that were closed before TLS, by reason",
            connections_refused.clone(),
        );
        Self {
            registry,
            requests,
            unenforced,
            connections_refused,
            reloads,
            applied,
            no_route: Arc::from(""),
        }
    }

    /// Counts a request. `outcome` is `forwarded`, or the label of a rejection or fault; a request without a route counts under an
    /// empty one.
    pub fn count(&self, route: Option<&Arc<str>>, outcome: &'static str) {
        let route = Arc::clone(route.unwrap_or(&self.no_route));
        self.requests.get_or_create(&Outcome { route, outcome }).inc();
    }

    /// Counts a request that was let through although nothing binds its token.
    pub fn count_unenforced(&self, route: &Arc<str>, would_refuse: Rejection) {
        self.unenforced_by(route, would_refuse).inc();
    }

    /// Shows a report-only route before anyone uses it: a counter that appears with its first event hides that event from whoever looks at the increase.
    pub fn expect_unenforced(&self, route: &Arc<str>, would_refuse: Rejection) {
        drop(self.unenforced_by(route, would_refuse));
    }

    fn unenforced_by(
        &self,
        route: &Arc<str>,
        would_refuse: Rejection,
    ) -> impl Deref<Target = Counter<u64, AtomicU64>> {
        let labels = Unenforced { route: Arc::clone(route), would_refuse: would_refuse.label() };
        self.unenforced.get_or_create(&labels)
    }

    /// Counts an attempt to reload.
    pub fn reloaded(&self, outcome: Reloaded) {
        self.reloads.get_or_create(&ReloadOutcome { outcome: outcome.label() }).inc();
    }

    /// A configuration was applied at this second since 1970.
    pub fn applied_at(&self, second: i64) {
        self.applied.set(second);
    }

    /// Counts a connection that was closed before it could carry a request.
    pub fn count_refused_connection(&self, reason: &'static str) {
        self.connections_refused.get_or_create(&Reason { reason }).inc();
    }

    /// Everything as OpenMetrics text, with `more` numbers that others keep.
    pub fn encode(&self, more: &[Kept<'_>]) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        // The end mark comes last in OpenMetrics; what others keep goes before it.
        let mut text = text.trim_end_matches("# EOF\n").to_owned();
        for kept in more {
            kept.write(&mut text);
        }
        text.push_str("# EOF\n");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_can_be_read() {
        let metrics = Metrics::new();
        metrics.count(Some(&Arc::from("accounts")), "forwarded");
        metrics.count(None, "host_unknown");
        metrics.count_refused_connection("proxy_header_half");
        let text = metrics.encode(&[
            Kept::one("replay_live", "Live claims", 3),
            Kept::one("tries_total", "Tries", 4),
            Kept::by_upstream("up", "Up", [(Arc::from("one"), 1), (Arc::from("two"), 2)].into_iter()),
            Kept::by("server", "ahead_seconds", "Ahead", [(Arc::from(r#"a"\b"#), -1.5)].into_iter()),
            Kept::histogram("took_seconds", "Took", &[0.00005, 1.0], &[3, 0, 2], 2.25),
        ]);
        assert!(
            text.contains("holdfast_requests_total{route=\"accounts\",outcome=\"forwarded\"} 1"),
            "{text}"
        );
        assert!(text.contains("holdfast_requests_total{route=\"\",outcome=\"host_unknown\"} 1"), "{text}");
        assert!(
            text.contains("holdfast_connections_refused_total{reason=\"proxy_header_half\"} 1"),
            "{text}"
        );
        assert!(text.contains("# TYPE holdfast_replay_live gauge\nholdfast_replay_live 3\n"), "{text}");
        assert!(text.contains("# TYPE holdfast_tries counter\nholdfast_tries_total 4\n"), "{text}");
        assert!(
            text.contains("holdfast_up{upstream=\"one\"} 1\nholdfast_up{upstream=\"two\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("holdfast_ahead_seconds{server=\"a\\\"\\\\b\"} -1.5\n"), "{text}");
        let histogram = "# TYPE holdfast_took_seconds histogram\nholdfast_took_seconds_bucket{le=\"0.00005\"} 3\nholdfast_took_seconds_bucket{le=\"1\"} 3\nholdfast_took_seconds_bucket{le=\"+Inf\"} 5\nholdfast_took_seconds_count 5\nholdfast_took_seconds_sum 2.25\n";
        assert!(text.contains(histogram), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}

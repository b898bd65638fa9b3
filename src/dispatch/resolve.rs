//! From a host name to its addresses. It never judges them.
//!
//! `/etc/hosts` comes first and then stands alone, as with the system's own resolver: a name in it is never asked for in the DNS, not even for its other family. The
//! machine's search domains are left out, for a URL names its host in full.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::time::timeout;

use super::connect::{ConnectError, fail};
use super::outcome::with_causes;
use crate::limits;
use crate::model::OutcomeClass;

/// The names that are in force; clones follow when they are replaced.
#[derive(Clone)]
pub struct CurrentNames(Arc<RwLock<Arc<Names>>>);

impl CurrentNames {
    /// These, until they are replaced.
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(names))))
    }

    /// Those in force.
    #[must_use]
    pub fn get(&self) -> Arc<Names> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on others are in force.
    pub fn replace(&self, names: Names) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
    }
}

/// Knows the names: the hosts file and the name servers, as they stood when it was made.
pub struct Names {
    hosts: Hosts,
    resolver: TokioResolver,
    has_servers: bool,
}

impl Names {
    /// The system's names. Where no name server is configured, only names in `/etc/hosts` can be resolved.
    ///
    /// # Errors
    /// When the resolver can't be set up.
    pub fn from_system() -> Result<Self, NetError> {
        let [resolv_conf, hosts] = ["/etc/resolv.conf", "/etc/hosts"].map(std::fs::read);
        Self::from_files(resolv_conf, hosts)
    }

    /// The names of a system with these files, which may be missing, and in which anything may stand. Public for fuzzing.
    ///
    /// # Errors
    /// When the resolver can't be set up.
    pub fn from_files(resolv_conf: io::Result<Vec<u8>>, hosts: io::Result<Vec<u8>>) -> Result<Self, NetError> {
        let hosts = hosts.and_then(|bytes| hosts_in(&bytes)).unwrap_or_else(|error| {
            tracing::warn!(%error, "/etc/hosts could not be read");
            Hosts::default()
        });
        match resolv_conf.map_err(NetError::from).and_then(parse_resolv_conf) {
            Ok((config, options)) => Self::new(config, options, hosts),
            Err(error) => {
                tracing::warn!(%error, "no name server is known from /etc/resolv.conf; only names in /etc/hosts can be resolved");
                Self::new(ResolverConfig::default(), ResolverOpts::default(), hosts)
            }
        }
    }

    /// These name servers and hosts.
    ///
    /// # Errors
    /// When the resolver can't be set up.
    pub fn new(config: ResolverConfig, options: ResolverOpts, hosts: Hosts) -> Result<Self, NetError> {
        let has_servers = !config.name_servers.is_empty();
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let attempts_max = usize::try_from(limits::IN_FLIGHT_MAX).unwrap_or(usize::MAX);
        *builder.options_mut() = options;
        let options = builder.options_mut();
        // Every attempt may ask for both families at once; by default the 33rd question would be refused as too busy.
        options.max_active_requests = attempts_max.saturating_mul(2);
        // The zone may ask that "no such name" is remembered for a day. An owner who repairs it should not wait that long.
        options.negative_max_ttl = Some(Duration::from_millis(limits::DNS_ABSENCE_KEPT_MS));
        Ok(Self { hosts, resolver: builder.build()?, has_servers })
    }

    /// The addresses of `host`: at least one, at most [`limits::RESOLVED_ADDRESSES_MAX`], IPv4 first. A literal is its own address.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Ok(vec![literal]);
        }
        // The dot at the end keeps the machine's search domains out.
        let Ok(name) = Name::from_ascii(format!("{}.", host.trim_end_matches('.'))) else {
            return fail(OutcomeClass::UrlRefused, format!("{host} can't be a host name: a part of it is empty or longer than 63 letters"));
        };
        let known = self.in_hosts_file(&name);
        if !known.is_empty() {
            return Ok(known);
        }
        let error = match self.ask(&name).await {
            Ok(addresses) if addresses.is_empty() => return fail(OutcomeClass::DnsNotFound, format!("the name {host} has no address")),
            Ok(addresses) => return Ok(addresses),
            Err(error) => error,
        };
        if error.is_nx_domain() {
            fail(OutcomeClass::DnsNotFound, format!("the name {host} does not exist"))
        } else if error.is_no_records_found() {
            fail(OutcomeClass::DnsNotFound, format!("the name {host} has no address"))
        } else if !self.has_servers {
            let sentence = format!("the name {host} could not be resolved: this machine has no name server in /etc/resolv.conf");
            fail(OutcomeClass::DnsFailed, sentence)
        } else {
            fail(OutcomeClass::DnsFailed, format!("the name {host} could not be resolved: {}", with_causes(&error)))
        }
    }

    /// Asks for both families at once. As soon as one has addresses, the other is waited for only a little longer: there are zones whose servers never answer for the family
    /// that they do not have.
    async fn ask(&self, name: &Name) -> Result<Vec<IpAddr>, NetError> {
        let (mut ipv4, mut ipv6) = (pin!(self.ask_for(name, RecordType::A)), pin!(self.ask_for(name, RecordType::AAAA)));
        let answers = tokio::select! {
            first = &mut ipv4 => {
                let second = other_family(&first, ipv6).await;
                [Some(first), second]
            }
            first = &mut ipv6 => {
                let second = other_family(&first, ipv4).await;
                [second, Some(first)]
            }
        };
        let (mut addresses, mut failures) = (Vec::new(), Vec::new());
        for answer in answers.into_iter().flatten() {
            match answer {
                Ok(found) => addresses.extend(found),
                Err(error) => failures.push(error),
            }
        }
        addresses.truncate(limits::RESOLVED_ADDRESSES_MAX);
        // That a server failed says more than that it knows of no such addresses.
        let failure = failures.into_iter().min_by_key(NetError::is_no_records_found);
        failure.filter(|_| addresses.is_empty()).map_or(Ok(addresses), Err)
    }

    async fn ask_for(&self, name: &Name, kind: RecordType) -> Result<Vec<IpAddr>, NetError> {
        let found = self.resolver.lookup(name.clone(), kind).await?;
        Ok(found.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
    }

    fn in_hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|found| found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
            .take(limits::RESOLVED_ADDRESSES_MAX)
            .collect()
    }
}

/// A line that is no UTF-8, such as an old comment, takes no other line with it.
fn hosts_in(bytes: &[u8]) -> io::Result<Hosts> {
    let mut hosts = Hosts::default();
    hosts.read_hosts_conf(String::from_utf8_lossy(bytes).as_bytes())?;
    Ok(hosts)
}

/// The answer for the other family; none when the first has addresses and the other does not come soon.
async fn other_family(
    first: &Result<Vec<IpAddr>, NetError>,
    other: impl Future<Output = Result<Vec<IpAddr>, NetError>>,
) -> Option<Result<Vec<IpAddr>, NetError>> {
    if first.as_ref().is_ok_and(|addresses| !addresses.is_empty()) {
        return timeout(Duration::from_millis(limits::DNS_OTHER_FAMILY_MS), other).await.ok();
    }
    Some(other.await)
}

//! A node as its operators meet it: what [`api::admin`] asks, answered by the parts.
//!
//! Nothing is kept here but what no part knows: since when the process runs, and whether somebody told
//! it to give everything away ([`crate::giving`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::admin::{
    About, AttemptInfo, AttemptsInfo, AuditInfo, ChainInfo, ChangedInfo, CollectionInfo,
    DeadLettersInfo, Doing, ErrorInfo, Going, LinesInfo, LogHealth, Movement, Operate,
    PartitionInfo, Partitions, PluginInfo, ProgressInfo, PushedInfo, RegistryInfo, ReplayedInfo,
    ServiceWish, ServicesInfo, TrialWanted, WhyInfo, With,
};
use archive::Archive;
use bytes::Bytes;
use chat::{Chats, Code, Refusal, RingView};
use hashring::{NodeId, PartitionId, Ring, Spread};
use model::{ChatToken, MessageId};
use outbox::Services;
use registry::MemberRecord;
use replication::core::{LearnerView, Role};
use replication::{BUILD, Failure, Replication};
use rollout::Rollout;
use runtime::{Instant, Tasks};

use crate::config::RegistryKind;
use crate::giving::{Giving, in_a_task};
use crate::going::{Company, Held};
use crate::shutdown::SERVICES_MAX;
use crate::{decision, looking, serving, told};

/// How long the registry may take to write down an order, or to say who is there: others wait behind it.
const REGISTRY_MAX: Duration = Duration::from_secs(10);

/// One node's answers to its operators. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) replication: Replication,
    pub(crate) rollout: Rollout,
    pub(crate) chats: Chats,
    pub(crate) archive: Archive,
    pub(crate) services: Services,
    /// `chain.message.order`.
    pub(crate) order: Vec<String>,
    /// Which has the plugins' journals.
    pub(crate) host: plugin::Host,
    pub(crate) registry: RegistryKind,
    /// Where clients are told to connect.
    pub(crate) http: String,
    /// Of the data folder.
    pub(crate) store: u64,
    pub(crate) boot: u64,
    pub(crate) since: Instant,
    pub(crate) giving: Giving,
    pub(crate) tasks: Tasks,
}

impl Operate for Operator {
    fn about(&self) -> About {
        let unreached = self.replication.unreached();
        About {
            node: self.replication.node().clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: BUILD.to_owned(),
            incarnation: self.boot,
            store: self.store,
            cluster: self.replication.cluster(),
            uptime_ms: ms(runtime::now().saturating_duration_since(self.since)),
            http: self.http.clone(),
            draining: self.giving.stands(),
            led: self.replication.led(),
            registry: RegistryInfo {
                kind: match self.registry {
                    RegistryKind::Embedded => "embedded",
                    RegistryKind::ZooKeeper => "zookeeper",
                },
                // Not reached for less than a millisecond is not reached.
                unreached_ms: unreached.map_or(0, |since| ms(since).max(1)),
            },
        }
    }

    fn ring(&self) -> Arc<RingView> {
        self.replication.ring()
    }

    fn partitions(&self) -> Partitions {
        let view = self.replication.ring();
        let all = self.replication.partitions().all();
        let evidence = self.replication.evidence();
        Partitions {
            copies: self.replication.copies(),
            commit: self.replication.commit(),
            spread: match self.replication.spread() {
                Spread::Node => "node",
                Spread::Host => "host",
                Spread::Zone => "zone",
            },
            settle_ms: ms(self.replication.settle()),
            partitions: all.map(|it| self.partition(it, &view.ring, &evidence)).collect(),
        }
    }

    fn collections(&self) -> Doing<'_, Vec<CollectionInfo>> {
        Box::pin(async move {
            let usage = self.archive.usage().await;
            let usage = usage.map_err(|no| Refusal::new(Code::NotReady, no.detail))?;
            let info = |(name, usage): (archive::CollectionName, archive::Usage)| CollectionInfo {
                collection: name.to_string(),
                segments: usage.segments,
                bytes: usage.bytes,
            };
            Ok(usage.into_iter().map(info).collect())
        })
    }

    fn plugins(&self) -> Vec<PluginInfo> {
        told::plugins(&self.rollout)
    }

    fn chain(&self) -> ChainInfo {
        told::chain(&self.rollout, &self.order)
    }

    fn push(
        &self,
        name: String,
        component: Bytes,
        signature: Option<String>,
    ) -> Doing<'_, PushedInfo> {
        Box::pin(told::push(&self.rollout, name, component, signature))
    }

    fn swap(
        &self,
        name: String,
        digest: String,
        wait: bool,
        trial: Option<TrialWanted>,
    ) -> Doing<'_, ChangedInfo> {
        Box::pin(told::swap(&self.rollout, name, digest, wait, trial))
    }

    fn roll_back(&self, name: String, wait: bool) -> Doing<'_, ChangedInfo> {
        Box::pin(told::roll_back(&self.rollout, name, wait))
    }

    fn progress(&self, name: &str) -> Option<ProgressInfo> {
        told::progress(&self.rollout, name)
    }

    fn audit(&self) -> Vec<AuditInfo> {
        told::audit(&self.rollout)
    }

    fn lines(&self, plugin: &str, chat: Option<ChatToken>, after: u64) -> Option<LinesInfo> {
        self.host.journal(plugin).map(|journal| looking::lines(journal.lines(chat, after)))
    }

    fn errors(&self, plugin: &str) -> Option<Vec<ErrorInfo>> {
        let errors = self.host.journal(plugin)?.errors();
        Some(errors.into_iter().map(looking::error).collect())
    }

    fn services(&self) -> Doing<'_, ServicesInfo> {
        Box::pin(async move { Ok(serving::all(&self.services).await) })
    }

    fn attempts(&self, service: String) -> Doing<'_, AttemptsInfo> {
        Box::pin(async move { serving::attempts(&self.services, &service).await })
    }

    fn test(&self, service: String) -> Doing<'_, AttemptInfo> {
        let node = self.replication.node().clone();
        Box::pin(async move { serving::test(&self.services, node, &service).await })
    }

    fn dead_letters(&self, service: String) -> Doing<'_, DeadLettersInfo> {
        Box::pin(async move { serving::dead_letters(&self.services, &service).await })
    }

    fn wish(&self, service: String, wish: ServiceWish) -> Doing<'_, ServicesInfo> {
        Box::pin(async move { serving::wish(&self.services, &service, wish).await })
    }

    fn replay(&self, service: String, events: Option<Vec<String>>) -> Doing<'_, ReplayedInfo> {
        Box::pin(async move { serving::replay(&self.services, &service, events).await })
    }

    fn why(&self, message: MessageId, with: Option<With>) -> Doing<'_, WhyInfo> {
        Box::pin(decision::why(&self.chats, &self.rollout, message, with))
    }

    fn drain(&self, going: Going) -> Doing<'_, ()> {
        let this = self.clone();
        let done = in_a_task(&self.tasks, async move { this.drains(going).await });
        Box::pin(async move {
            let stops = |_ended| Err(Refusal::new(Code::NotReady, "this node stops"));
            done.await.unwrap_or_else(stops)
        })
    }

    fn leave(&self, node: NodeId, going: Going) -> Doing<'_, ()> {
        Box::pin(async move {
            self.reaches_registry()?;
            let leaving = going != Going::Staying;
            if going == Going::Going
                && let Some(why) = self.company(node.clone()).await?.needs_copy()
            {
                return Err(Refusal::new(Code::Needed, why));
            }
            match self.replication.set_leaving(&node, leaving).await {
                Ok(true) => {
                    tracing::warn!(%node, leaving, "an operator wrote whether this node leaves");
                    Ok(())
                }
                Ok(false) => {
                    let detail = format!("no node called {node} was ever a member of this cluster");
                    Err(Refusal::new(Code::NotFound, detail))
                }
                Err(failure) => Err(not_written(failure)),
            }
        })
    }
}

fn not_written(failure: Failure) -> Refusal {
    Refusal::new(Code::NotReady, failure.to_string())
}

fn late() -> Refusal {
    Refusal::new(Code::NotReady, "the registry does not answer in time: ask again")
}

impl Operator {
    /// Gives everything away, or leads again.
    async fn drains(&self, going: Going) -> Result<(), Refusal> {
        let deciding = self.giving.decides().await;
        match going {
            Going::Staying => return self.stay().await,
            Going::Going | Going::Anyway if self.giving.stands() => {
                drop(deciding);
                self.giving.is_done().await;
                return Ok(());
            }
            Going::Going => self.may_go().await?,
            // Told to the others if that can be: without a registry nobody takes over anyway.
            Going::Anyway if self.replication.unreached().is_none() => self.writes(true).await?,
            Going::Anyway => {}
        }
        let number = self.giving.begin();
        drop(deciding);
        tracing::info!(node = %self.replication.node(), "an operator has this node give everything away");
        let gives = self.replication.begin_drain();
        self.giving.carry_out(number, self.hear_out(), gives).await;
        Ok(())
    }

    /// Whether the others can do without this node. It says in the registry that it goes before it looks: of two
    /// that are asked at once none is overlooked.
    async fn may_go(&self) -> Result<(), Refusal> {
        self.reaches_registry()?;
        self.writes(true).await?;
        let node = self.replication.node().clone();
        let held = self.held();
        if let Some(why) = self.company(node).await?.needs_leader(held.iter()) {
            self.writes(false).await?;
            return Err(Refusal::new(Code::Needed, why));
        }
        Ok(())
    }

    /// Waits for what services have in their hands.
    async fn hear_out(&self) {
        if runtime::timeout(SERVICES_MAX, self.services.drain()).await.is_err() {
            tracing::warn!(
                "a service has not answered: whoever leads next sends it the same again"
            );
        }
    }

    async fn stay(&self) -> Result<(), Refusal> {
        self.reaches_registry()?;
        self.writes(false).await?;
        self.giving.end();
        self.replication.end_drain().await;
        self.services.go_on();
        tracing::info!(node = %self.replication.node(), "an operator has this node lead again");
        Ok(())
    }

    /// Writes whether this node gives everything away.
    async fn writes(&self, draining: bool) -> Result<(), Refusal> {
        let written = self.replication.set_draining(draining);
        let written = runtime::timeout(REGISTRY_MAX, written).await;
        written.map_err(|_elapsed| late())?.map_err(not_written)
    }

    fn reaches_registry(&self) -> Result<(), Refusal> {
        if self.replication.unreached().is_some() {
            let detail = "the registry cannot be reached, and this is written there";
            return Err(Refusal::new(Code::NotReady, detail));
        }
        Ok(())
    }

    /// The partitions that this node holds.
    fn held(&self) -> Vec<Held> {
        let me = self.replication.node();
        let views = self.replication.partitions().all().map(|one| self.replication.view(one));
        views
            .filter(|view| view.ensemble.contains(me))
            .map(|view| Held { ensemble: view.ensemble.clone() })
            .collect()
    }

    /// The cluster, for whether `node` may go.
    async fn company(&self, node: NodeId) -> Result<Company, Refusal> {
        let members = runtime::timeout(REGISTRY_MAX, self.replication.members()).await;
        let members = members.map_err(|_elapsed| late())?.map_err(not_written)?;
        let of = |is: &dyn Fn(&MemberRecord) -> bool| {
            members.iter().filter(|(_, one)| is(one)).map(|(node, _)| node.clone()).collect()
        };
        let ring = self.replication.ring();
        let up = ring.nodes.iter().filter(|member| member.up).map(|member| member.id.clone());
        Ok(Company {
            node,
            up: up.collect(),
            draining: of(&|one| one.draining),
            leaving: of(&|one| one.leaving),
            commit: self.replication.commit(),
        })
    }

    fn partition(
        &self,
        partition: PartitionId,
        ring: &Ring,
        evidence: &BTreeSet<PartitionId>,
    ) -> PartitionInfo {
        let view = self.replication.view(partition);
        let partitions = self.replication.partitions();
        let copies = usize::from(self.replication.copies());
        // Until the core has planned, the ring alone says it.
        let wanted = match view.wanted.is_empty() {
            true => partitions.wanted(ring, partition, copies, self.replication.spread()),
            false => view.wanted.clone(),
        };
        PartitionInfo {
            partition,
            epoch: view.epoch,
            state: match (view.ensemble.is_empty(), view.open) {
                (true, _) => "unknown",
                (false, true) => "open",
                (false, false) => "sealing",
            },
            primary: view.primary.clone(),
            role: match view.role {
                Role::Outside => "outside",
                Role::Learner => "learner",
                Role::Retired => "retired",
                Role::Member => "member",
                Role::Candidate => "candidate",
                Role::Primary => "primary",
                Role::Mending => "mending",
            },
            ensemble: view.ensemble.clone(),
            wanted,
            end: view.end,
            commit: view.commit,
            stale_ms: ms(view.stale),
            moves: view.learners.iter().map(movement).collect(),
            log: LogHealth {
                damaged: view.damaged,
                unreadable: view.unreadable,
                mended: view.mended,
                evidence: evidence.contains(&partition),
            },
            differing: view.differing.clone(),
        }
    }
}

fn movement(learner: &LearnerView) -> Movement {
    Movement {
        node: learner.node.clone(),
        bytes_done: learner.bytes_done,
        bytes_total: learner.bytes_done.saturating_add(learner.bytes_left),
        left_ms: learner.time_left().map(ms),
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

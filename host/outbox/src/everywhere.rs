//! A service is one thing for the cluster, and each node has its part: what is wanted of one is wanted of all, and
//! what is asked is answered by all that are there.

use bytes::Bytes;
use futures_util::future::join_all;
use hashring::NodeId;
use transaction::Cause;

use crate::agreed::{Agreed, Stopped};
use crate::attempts::AttemptRecord;
use crate::desk::Desk;
use crate::question::{Answer, Question, Wish, decode, encode, question};
use crate::services::{Services, Unknown, WishError};
use crate::view::{DeadLetter, ServiceView};

/// Attempts that one node tells of: they fit an answer with room to spare.
const TOLD_MAX: usize = 500;

/// What the nodes said that were heard.
#[derive(Clone, Debug)]
pub struct Heard<T> {
    /// Each with its node, this one first.
    pub told: Vec<(NodeId, T)>,
    /// Who was not heard.
    pub silent: Vec<NodeId>,
}

/// What came of asking all nodes for parts of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered<T> {
    /// All that was told.
    pub all: T,
    /// Whether a node has more than it told, or did: ask again.
    pub more: bool,
    /// Who was not heard: what they know, or lead, is not in it.
    pub silent: Vec<NodeId>,
}

impl Services {
    /// How all services do, on all nodes.
    pub async fn list_everywhere(&self) -> Heard<Vec<ServiceView>> {
        self.everywhere(Question::List).await.of(|answer| match answer {
            Answer::List(views) => Some(views),
            _ => None,
        })
    }

    /// A service is there: everything is tried at once, on all nodes. What was stopped because it was gone, or down
    /// for too long, goes on. Who was not heard.
    ///
    /// # Errors
    /// [`WishError`]. Where the registry cannot be reached, what is not stopped is tried all the same.
    pub async fn wake(&self, name: &str) -> Result<Vec<NodeId>, WishError> {
        // What is known here not to be stopped need not be asked about.
        if self.agreements().is_stopped(name) != Some(false) {
            let go_on = |agreed: &Agreed| {
                let cause = agreed.stopped.as_ref()?.cause;
                let ends = matches!(cause, Cause::Gone | Cause::GaveUp);
                ends.then(|| agreed.with_stopped(None))
            };
            match self.agreements().change(name, go_on).await {
                Ok(()) | Err(WishError::Away) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.wish_everywhere(name, Wish::Wake).await?)
    }

    /// The service says itself that it is there. Whether that moved anything: once a second is enough.
    ///
    /// # Errors
    /// [`WishError`].
    pub async fn ping(&self, name: &str) -> Result<bool, WishError> {
        if !self.pings(name) {
            return Ok(false);
        }
        self.wake(name).await.map(|_silent| true)
    }

    /// Nothing is sent to it until it is resumed, by any node, also after all have been restarted. Who was not heard:
    /// they hear it from the registry.
    ///
    /// # Errors
    /// [`WishError`].
    pub async fn pause(&self, name: &str) -> Result<Vec<NodeId>, WishError> {
        let (node, at_ms) = (self.desk().node(), runtime::wall_ms());
        let pause = |agreed: &Agreed| {
            let paused = agreed.stopped.as_ref().is_some_and(|it| it.cause == Cause::Paused);
            let stopped = Some(Stopped { cause: Cause::Paused, at_ms, node: node.clone() });
            (!paused).then(|| agreed.with_stopped(stopped))
        };
        self.agreements().change(name, pause).await?;
        Ok(self.wish_everywhere(name, Wish::Pause).await?)
    }

    /// What was stopped goes on, on all nodes. Who was not heard: they hear it from the registry.
    ///
    /// # Errors
    /// [`WishError`].
    pub async fn resume(&self, name: &str) -> Result<Vec<NodeId>, WishError> {
        let resume = |agreed: &Agreed| agreed.stopped.is_some().then(|| agreed.with_stopped(None));
        self.agreements().change(name, resume).await?;
        Ok(self.wish_everywhere(name, Wish::Resume).await?)
    }

    /// There is no such service any more: what it is owed is given up, in all partitions, and the next one of its name
    /// is another.
    ///
    /// # Errors
    /// [`WishError`]; [`WishError::Configured`] while a node has it in its file.
    pub async fn forget(&self, name: &str) -> Result<(), WishError> {
        let heard = self.list_everywhere().await;
        let has =
            |views: &[ServiceView]| views.iter().any(|view| view.name == name && view.configured);
        let having =
            heard.told.iter().filter(|(_, views)| has(views)).map(|(node, _)| node.clone());
        let nodes: Vec<NodeId> = having.chain(heard.silent).collect();
        if !nodes.is_empty() {
            return Err(WishError::Configured { service: name.to_owned(), nodes });
        }
        let forget = |agreed: &Agreed| Some(agreed.as_forgotten());
        if self.agreements().is_absent() {
            return Err(Unknown(name.to_owned()).into());
        }
        self.agreements().change(name, forget).await
    }

    /// The last attempts of all nodes, newest first.
    ///
    /// # Errors
    /// [`Unknown`] when no node has it.
    pub async fn attempts_everywhere(
        &self,
        name: &str,
    ) -> Result<Gathered<Vec<(NodeId, AttemptRecord)>>, Unknown> {
        let asked = Question::Attempts { service: name.to_owned() };
        let heard = self.everywhere(asked).await.of(|answer| match answer {
            Answer::Attempts(attempts) => Some(attempts),
            _ => None,
        });
        let Heard { told, silent } = heard.known(name)?;
        let more = told.iter().any(|(_, attempts)| attempts.len() >= TOLD_MAX);
        let mut all: Vec<_> = told
            .into_iter()
            .flat_map(|(node, attempts)| attempts.into_iter().map(move |it| (node.clone(), it)))
            .collect();
        all.sort_by_key(|(_, attempt)| std::cmp::Reverse(attempt.at_ms));
        Ok(Gathered { all, more, silent })
    }

    /// What a service did not take, in all partitions.
    ///
    /// # Errors
    /// [`Unknown`] when no node has it.
    pub async fn letters_everywhere(
        &self,
        name: &str,
    ) -> Result<Gathered<Vec<DeadLetter>>, Unknown> {
        let asked = Question::Letters { service: name.to_owned() };
        let heard = self.everywhere(asked).await.of(|answer| match answer {
            Answer::Letters { letters, more } => Some((letters, more)),
            _ => None,
        });
        let Heard { told, silent } = heard.known(name)?;
        let more = told.iter().any(|(_, (_, more))| *more);
        let all = told.into_iter().flat_map(|(_, (letters, _))| letters).collect();
        Ok(Gathered { all, more, silent })
    }

    /// Has sent again what a service did not take: all of it, or these messages. How many.
    ///
    /// # Errors
    /// [`Unknown`] when no node has it.
    pub async fn replay_everywhere(
        &self,
        name: &str,
        events: Option<Vec<String>>,
    ) -> Result<Gathered<u64>, Unknown> {
        let asked = Question::Replay { service: name.to_owned(), events };
        let heard = self.everywhere(asked).await.of(|answer| match answer {
            Answer::Replayed { count, more } => Some((count, more)),
            _ => None,
        });
        let Heard { told, silent } = heard.known(name)?;
        let more = told.iter().any(|(_, (_, more))| *more);
        let all = told.into_iter().map(|(_, (count, _))| count).sum();
        Ok(Gathered { all, more, silent })
    }

    /// Answers another node; nothing to what is no question of this version.
    pub async fn answer(&self, body: &[u8]) -> Option<Bytes> {
        let asked = question(body)?;
        Some(encode(&self.here(asked).await))
    }

    async fn wish_everywhere(&self, name: &str, wish: Wish) -> Result<Vec<NodeId>, Unknown> {
        let asked = Question::Wish { service: name.to_owned(), wish };
        let heard = self.everywhere(asked).await.of(|answer| match answer {
            Answer::Done => Some(()),
            _ => None,
        });
        heard.known(name).map(|heard| heard.silent)
    }

    /// Asks this node and all others.
    async fn everywhere(&self, question: Question) -> Heard<Answer> {
        let mut heard = ask_others(&**self.desk(), &question).await;
        heard.told.insert(0, (self.desk().node(), self.here(question).await));
        heard
    }

    async fn here(&self, question: Question) -> Answer {
        let answered = match question {
            Question::List => Ok(Answer::List(self.list())),
            Question::Wish { service, wish } => {
                self.wish(&service, wish).await.map(|()| Answer::Done)
            }
            Question::Attempts { service } => self.attempts(&service).map(|mut attempts| {
                attempts.truncate(TOLD_MAX);
                Answer::Attempts(attempts)
            }),
            Question::Letters { service } => {
                let told = self.dead_letters(&service).await;
                told.map(|(letters, more)| Answer::Letters { letters, more })
            }
            Question::Replay { service, events } => {
                let replayed = self.replay(&service, events.as_deref()).await;
                replayed.map(|(count, more)| Answer::Replayed {
                    count: u64::try_from(count).unwrap_or(u64::MAX),
                    more,
                })
            }
        };
        answered.unwrap_or(Answer::Unknown)
    }
}

/// Asks all other nodes at once.
pub(crate) async fn ask_others(desk: &dyn Desk, question: &Question) -> Heard<Answer> {
    let (others, bytes) = (desk.others(), encode(question));
    let answers = join_all(others.iter().map(|node| desk.ask(node, bytes.clone()))).await;
    let mut heard = Heard { told: Vec::new(), silent: Vec::new() };
    for (node, answer) in others.into_iter().zip(answers) {
        match answer.and_then(|answer| decode(&answer)) {
            Some(answer) => heard.told.push((node, answer)),
            None => heard.silent.push(node),
        }
    }
    heard
}

impl Heard<Answer> {
    /// Only what is an answer to what was asked.
    fn of<T>(self, pick: impl Fn(Answer) -> Option<T>) -> Heard<T> {
        let picked = |(node, answer)| pick(answer).map(|told| (node, told));
        Heard { told: self.told.into_iter().filter_map(picked).collect(), silent: self.silent }
    }
}

impl<T> Heard<T> {
    fn known(self, name: &str) -> Result<Self, Unknown> {
        if self.told.is_empty() { Err(Unknown(name.to_owned())) } else { Ok(self) }
    }
}

//! `carillon ring`: who holds what, who should, and who is on the way.

use clap::{Args, Subcommand};
use hashring::{NodeId, Partitions};
use model::ChatToken;
use serde_json::{Value, json};

use super::admin::Admin;
use super::placement::{Movement, Partition, Placement, Ring};
use super::{Problem, output};

/// Shows who holds what, and changes who should.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon ring show --admin http://127.0.0.1:7181")]
pub(super) struct RingCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Show),
    Who(Who),
    Moves(Moves),
    Leave(Leave),
}

/// Whom to ask, and how to print.
#[derive(Debug, Args)]
struct Common {
    /// Where a node answers operators
    #[arg(long, default_value = "http://127.0.0.1:7181")]
    admin: String,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints the nodes: places, share of the ring, partitions led and held, and how even that is.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon ring show\n\nBalance is the largest divided by the mean: 1.00 is \
                        even."
)]
struct Show {
    #[command(flatten)]
    common: Common,
}

/// Prints who holds a chat, and who should.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon ring who 0123456789abcdef0123456789abcdef")]
struct Who {
    /// The chat
    token: String,
    #[command(flatten)]
    common: Common,
}

/// Prints who is being brought in where, with bytes and the time left.
///
/// Each node knows only of partitions that it leads: name all of them to see everything.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon ring moves --admin \
                        http://127.0.0.1:7301,http://127.0.0.1:7302,http://127.0.0.1:7303")]
struct Moves {
    /// Where nodes answer operators, with commas
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:7181")]
    admin: Vec<String>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Declares a node gone for good: what it holds is given to others.
///
/// It stays so until it is taken back with --undo, restarts of that node included.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon ring leave n3 --admin http://127.0.0.1:7181")]
struct Leave {
    /// The node that leaves
    node: String,
    /// It stays after all
    #[arg(long, alias = "cancel", conflicts_with = "force")]
    undo: bool,
    /// Also if fewer nodes would stay than must hold what is sent
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

impl RingCommand {
    pub(super) fn run(self) -> Result<(), Problem> {
        super::small_runtime()?.block_on(async {
            match self.command {
                Command::Show(show) => show.run().await,
                Command::Who(who) => who.run().await,
                Command::Moves(moves) => moves.run().await,
                Command::Leave(leave) => leave.run().await,
            }
        })
    }
}

impl Show {
    async fn run(self) -> Result<(), Problem> {
        let admin = Admin::new(&self.common.admin)?;
        let ring: Ring = admin.get("/admin/v1/ring").await?;
        let placement: Placement = admin.get("/admin/v1/partitions").await?;
        let table = super::placement::table(&ring, &placement);
        output::line(if self.common.json { table.json().to_string() } else { table.text() })
            .map(drop)
    }
}

impl Who {
    async fn run(self) -> Result<(), Problem> {
        let token: ChatToken = self.token.parse().map_err(|error: model::InvalidToken| {
            Problem::usage(error, "Take a token that carillon chat create printed")
        })?;
        let admin = Admin::new(&self.common.admin)?;
        let Placement { partitions, .. } = admin.get("/admin/v1/partitions").await?;
        let count = u16::try_from(partitions.len()).unwrap_or(u16::MAX);
        let all = Partitions::try_from(count)
            .map_err(|error| Problem::failed(error, "Ask a node that has joined its cluster"))?;
        let partition = all.of_key(&token.key());
        let found = partitions.into_iter().find(|one| one.partition == partition.0);
        let Some(Partition { epoch, state, primary, ensemble, wanted, .. }) = found else {
            let what = format!("{} does not tell of partition {partition}", admin.url());
            return Err(Problem::failed(what, "Ask another node"));
        };
        if self.common.json {
            return output::line(json!({
                "partition": partition.0, "epoch": epoch, "state": state, "primary": primary,
                "ensemble": ensemble, "wanted": wanted,
            }))
            .map(drop);
        }
        let nobody = || "nobody".to_owned();
        let lines = [
            format!("partition {partition}"),
            format!("epoch     {epoch} ({state})"),
            format!("primary   {}", primary.as_ref().map_or_else(nobody, ToString::to_string)),
            format!("held by   {}", names(&ensemble)),
            format!("wanted    {}", names(&wanted)),
        ];
        output::line(lines.join("\n")).map(drop)
    }
}

fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(" ")
}

impl Moves {
    async fn run(self) -> Result<(), Problem> {
        let admins: Vec<Admin> =
            self.admin.iter().map(|url| Admin::new(url)).collect::<Result<_, _>>()?;
        let mut asked: Vec<Placement> = Vec::new();
        let mut silent: Vec<Problem> = Vec::new();
        for admin in &admins {
            match admin.get("/admin/v1/partitions").await {
                Ok(placement) => asked.push(placement),
                Err(problem) => silent.push(problem),
            }
        }
        let Some(first) = asked.first() else {
            return Err(silent.into_iter().next().unwrap_or_else(|| {
                Problem::usage("no node was named", "Write --admin http://127.0.0.1:7181")
            }));
        };
        let waiting = first.partitions.iter().filter(|partition| partition.is_elsewhere()).count();
        let moves: Vec<(&Partition, &Movement)> = asked
            .iter()
            .flat_map(|placement| &placement.partitions)
            .flat_map(|partition| partition.moves.iter().map(move |movement| (partition, movement)))
            .collect();
        let told = if self.json {
            let moves: Vec<Value> =
                moves.iter().map(|(partition, one)| one.json(partition)).collect();
            json!({"moves": moves, "elsewhere": waiting}).to_string()
        } else {
            let mut lines: Vec<String> =
                moves.iter().map(|(partition, one)| one.line(partition)).collect();
            lines.push(match (waiting, moves.len()) {
                (0, 0) => "every partition is where it should be".to_owned(),
                (waiting, moving) => format!(
                    "{waiting} partitions are not where they should be; {moving} are being brought \
                     there by the nodes that were asked"
                ),
            });
            lines.join("\n")
        };
        output::line(told)?;
        match silent.into_iter().next() {
            None => Ok(()),
            Some(problem) => Err(Problem::partly(problem.what, problem.fix)),
        }
    }
}

impl Leave {
    async fn run(self) -> Result<(), Problem> {
        let node: NodeId = self.node.parse().map_err(|error: hashring::InvalidNodeId| {
            Problem::usage(error, "Write the node's id, as carillon ring show prints it")
        })?;
        let admin = Admin::new(&self.common.admin)?;
        let body = json!({"node": node, "leaving": !self.undo, "force": self.force});
        let done = admin.post("/admin/v1/ring/leave", &body).await?;
        if self.common.json {
            return output::line(done).map(drop);
        }
        let told = match self.undo {
            false => format!("{node} leaves: carillon ring moves shows what is given to others"),
            true => format!("{node} stays"),
        };
        output::line(told).map(drop)
    }
}

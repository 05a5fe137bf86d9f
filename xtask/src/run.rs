//! Runs other programs: says what it runs before it does, how long it took after, and stops at the first failure.

use serde_json::Value;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

/// Why a command of the project did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A program could not be started.
    #[error("`{command}` could not be started: {source}")]
    Start {
        /// What was run.
        command: String,
        /// Why it did not start.
        source: io::Error,
    },
    /// A program ran and reported failure.
    #[error("`{command}` ended with {status}")]
    Status {
        /// What was run.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The output of a program could not be passed on.
    #[error("the output of `{command}` could not be passed on: {source}")]
    Output {
        /// What was run.
        command: String,
        /// What went wrong.
        source: io::Error,
    },
    /// What was asked for makes no sense or cannot be had here.
    #[error("{0}")]
    Because(String),
}

/// Says why a command failed, if it did, and gives the exit code that goes with it.
pub(crate) fn report(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nfailed: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The directory of the workspace.
pub(crate) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// The directory that cargo builds into.
pub(crate) fn target() -> Result<PathBuf, Failure> {
    let metadata = cargo(["metadata", "--format-version", "1", "--no-deps", "--offline"]).output();
    let metadata: Option<Value> = metadata.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok());
    let directory = metadata.as_ref().and_then(|metadata| metadata["target_directory"].as_str());
    directory.map(PathBuf::from).ok_or_else(|| Failure::Because("cargo does not say where it builds".into()))
}

/// The cargo that runs this program, to be started in the directory of the workspace.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    command
}

/// Runs a program to its end; its output goes where this program's goes.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    watch(command, |mut command| command.status())
}

/// Runs a program to its end, passing on what it prints line by line and showing every line to `each`.
pub(crate) fn run_reading(command: Command, mut each: impl FnMut(&str)) -> Result<(), Failure> {
    let shown = show(&command);
    let mut broken = None;
    let ended = watch(command, |mut command| {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().expect("the output was asked for a line above");
        if let Err(source) = pass_on(output, &mut each) {
            broken = Some(source);
        }
        child.wait()
    });
    match broken {
        Some(source) => Err(Failure::Output { command: shown, source }),
        None => ended,
    }
}

/// Runs a program in place of this one, so that Ctrl-C and its exit code are its own; returns only if it cannot.
#[cfg(unix)]
pub(crate) fn become_it(mut command: Command) -> Result<(), Failure> {
    let shown = show(&command);
    eprintln!("\n$ {shown}\n");
    let source = std::os::unix::process::CommandExt::exec(&mut command);
    Err(Failure::Start { command: shown, source })
}

/// Runs a program as the last thing this one does.
#[cfg(not(unix))]
pub(crate) fn become_it(command: Command) -> Result<(), Failure> {
    run(command)
}

/// Whether a program starts and reports success; its output is dropped.
pub(crate) fn works(mut command: Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn watch(command: Command, run: impl FnOnce(Command) -> io::Result<ExitStatus>) -> Result<(), Failure> {
    let shown = show(&command);
    eprintln!("\n$ {shown}");
    let start = Instant::now();
    let status = run(command).map_err(|source| Failure::Start { command: shown.clone(), source })?;
    eprintln!("  {:.1} s", start.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { Err(Failure::Status { command: shown, status }) }
}

fn pass_on(output: impl io::Read, each: &mut impl FnMut(&str)) -> io::Result<()> {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        io::stdout().write_all(&line)?;
        each(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    io::stdout().flush()
}

/// The command as one would type it, environment first.
fn show(command: &Command) -> String {
    let mut words = Vec::new();
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", key.to_string_lossy(), quote(&value.to_string_lossy())));
        }
    }
    let program = PathBuf::from(command.get_program());
    words.push(program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned());
    words.extend(command.get_args().map(|argument| quote(&argument.to_string_lossy())));
    words.join(" ")
}

fn quote(word: &str) -> String {
    let plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "'\"$`\\*?;&|<>()".contains(c));
    if plain { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["doc", "--no-deps", "a b"]).env("RUSTDOCFLAGS", "-D warnings").env_remove("GONE");
        assert_eq!(show(&command), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps 'a b'");
    }

    fn quiet(mut command: Command) -> Command {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    #[test]
    fn failing_to_start_and_failing_are_told_apart() {
        assert!(matches!(run(Command::new("no-such-program-anywhere")), Err(Failure::Start { .. })));
        assert!(matches!(run(quiet(cargo(["no-such-command"]))), Err(Failure::Status { .. })));
        assert!(run(quiet(cargo(["--version"]))).is_ok());
    }

    #[test]
    fn every_line_is_seen() {
        let mut lines = Vec::new();
        assert!(run_reading(cargo(["--version"]), |line| lines.push(line.to_owned())).is_ok());
        assert!(matches!(lines.as_slice(), [line] if line.starts_with("cargo 1.")));
    }
}

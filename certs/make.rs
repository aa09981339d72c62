//! Makes the certificates and keys of a development set-up: `cargo run --release --example certs`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use holdfast::clock::Clock;
use holdfast::demo::files::{self, Existing, FilesError, SERVER_NAMES, Secrecy};

/// Makes a development CA, server and client certificates, and an issuer key.
#[derive(Debug, Parser)]
struct Arguments {
    /// Replace the files that are there: all of them, since half a set fits nowhere.
    #[arg(long)]
    force: bool,
    /// A further DNS name or IP address of the server; may be repeated.
    #[arg(long = "name", value_name = "NAME", default_value = "api.example.com")]
    names: Vec<String>,
    /// The directory to write to.
    #[arg(long, value_name = "DIRECTORY", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/certs"))]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), FilesError> {
    let names: Vec<&str> = arguments.names.iter().map(String::as_str).collect();
    let existing = if arguments.force { Existing::Replace } else { Existing::Keep };
    let set = files::make(&names, Clock::system().now())?;
    files::write(&set, &arguments.out, existing)?;
    println!("In {}:\n", arguments.out.display());
    for file in &set {
        let secrecy = match file.secrecy {
            Secrecy::Public => "",
            Secrecy::Private => " (private, mode 0600)",
        };
        println!("  {:<18} {}{secrecy}", file.name, file.purpose);
    }
    println!(
        "\nThe server is {} and {}. All of it ends in a year.",
        SERVER_NAMES.join(", "),
        names.join(", ")
    );
    println!("Next: holdfast serve --config FILE with these names in it; certs/README.md explains each.");
    Ok(())
}

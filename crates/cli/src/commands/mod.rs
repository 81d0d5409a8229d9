//! The verbs.

mod clean;
mod completions;
mod doctor;
mod keys;
mod list;
mod new;
mod release;
mod serve;
mod validate;

use crate::context::Context;
use crate::error::Result;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    New(new::NewArgs),
    Validate(validate::ValidateArgs),
    List(list::ListArgs),
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    #[command(subcommand)]
    Release(release::ReleaseCommand),
    Serve(serve::ServeArgs),
    Doctor(doctor::DoctorArgs),
    Clean(clean::CleanArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

pub(crate) fn run(context: &Context, command: Command) -> Result<()> {
    match command {
        Command::New(args) => new::run(context, &args),
        Command::Validate(args) => validate::run(context, &args),
        Command::List(args) => list::run(context, &args),
        Command::Keys(command) => keys::run(context, &command),
        Command::Release(command) => release::run(context, &command),
        Command::Serve(args) => serve::run(context, &args),
        Command::Doctor(args) => doctor::run(context, &args),
        Command::Clean(args) => clean::run(context, &args),
        Command::Completions(args) => {
            completions::completions(&args);
            Ok(())
        }
        Command::Man(args) => completions::man(context, &args),
    }
}

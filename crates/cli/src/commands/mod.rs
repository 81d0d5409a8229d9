//! The verbs.

mod build;
mod clean;
mod completions;
mod doctor;
mod flist;
mod image;
mod import;
mod kernels;
mod keys;
mod list;
mod lock;
mod new;
mod release;
mod run;
mod runtime;
mod serve;
mod validate;

pub(crate) use flist::oci_error;

use crate::context::Context;
use crate::error::Result;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    New(new::NewArgs),
    Import(import::ImportArgs),
    Validate(validate::ValidateArgs),
    List(list::ListArgs),
    Lock(lock::LockArgs),
    Build(build::BuildArgs),
    #[command(subcommand)]
    Runtime(runtime::RuntimeCommand),
    #[command(subcommand)]
    Image(image::ImageCommand),
    #[command(subcommand)]
    Kernels(kernels::KernelsCommand),
    #[command(subcommand)]
    Flist(Box<flist::FlistCommand>),
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    #[command(subcommand)]
    Release(release::ReleaseCommand),
    Run(Box<run::RunArgs>),
    Serve(serve::ServeArgs),
    Doctor(doctor::DoctorArgs),
    Clean(clean::CleanArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

pub(crate) fn run(context: &Context, command: Command) -> Result<()> {
    match command {
        Command::New(args) => new::run(context, &args),
        Command::Import(args) => import::run(context, &args),
        Command::Validate(args) => validate::run(context, &args),
        Command::List(args) => list::run(context, &args),
        Command::Lock(args) => lock::run(context, &args),
        Command::Build(args) => build::run(context, &args),
        Command::Runtime(command) => runtime::run(context, &command),
        Command::Image(command) => image::run(context, &command),
        Command::Kernels(command) => kernels::run(context, &command),
        Command::Flist(command) => flist::run(context, &command),
        Command::Keys(command) => keys::run(context, &command),
        Command::Release(command) => release::run(context, &command),
        Command::Run(args) => run::run(context, &args),
        Command::Serve(args) => serve::run(context, &args),
        Command::Doctor(args) => doctor::run(context, &args),
        Command::Clean(args) => clean::run(context, &args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(context, &args),
    }
}

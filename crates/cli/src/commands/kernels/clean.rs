//! `mos kernels clean`.

use std::num::NonZeroUsize;

use mos_catalog::PrunePlan;
use serde::Serialize;

use super::PlaceArgs;
use crate::context::{Context, now};
use crate::error::Result;
use crate::{output, ui};

/// Delete old boot images: the newest of each environment stay
///
/// Shows what would go, and deletes it only with --yes or after a yes on a terminal. The index loses the images first, so that
/// nobody is sent to one that is gone. Images whose age nobody knows stay. Uploads may go on meanwhile.
#[derive(Debug, clap::Args)]
pub(crate) struct CleanArgs {
    /// How many images of each environment stay
    #[arg(long, value_name = "N")]
    keep: NonZeroUsize,

    #[command(flatten)]
    place: PlaceArgs,

    /// Delete without asking
    #[arg(long)]
    yes: bool,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'p> {
    keep: &'p [mos_catalog::Image],
    delete: &'p [mos_catalog::Image],
    /// Entries of images that are not there.
    orphans: &'p [String],
    deleted: bool,
}

pub(crate) fn run(context: &Context, args: &CleanArgs) -> Result<()> {
    let place = args.place.find(context)?;
    let now = now()?;
    let plan = place.with(|catalog| catalog.plan_prune(args.keep, now))?;
    if !args.json {
        show(&plan)?;
    }
    let agreed = !plan.is_empty() && agreed(context, args, &plan);
    if agreed {
        place.with(|catalog| catalog.prune(&plan, now))?;
    }
    if args.json {
        return output::json(&Report {
            keep: &plan.keep,
            delete: &plan.delete,
            orphans: &plan.orphans,
            deleted: agreed,
        });
    }
    context.ui.line(outcome(&plan, agreed));
    Ok(())
}

fn show(plan: &PrunePlan) -> Result<()> {
    for image in &plan.delete {
        output::line(format!("delete {}", super::list::cells(image).join("  ")))?;
    }
    for orphan in &plan.orphans {
        output::line(format!("delete the entry of {orphan}, which is not there"))?;
    }
    Ok(())
}

/// What goes, in words.
fn what(plan: &PrunePlan) -> String {
    let bytes = plan.delete.iter().map(|image| image.size).sum();
    format!("{}, {}", ui::count(plan.delete.len() as u64, "image"), ui::bytes(bytes))
}

fn agreed(context: &Context, args: &CleanArgs, plan: &PrunePlan) -> bool {
    args.yes || (!args.json && context.ui.confirm(&format!("Delete {}?", what(plan))))
}

fn outcome(plan: &PrunePlan, deleted: bool) -> String {
    let verb = if plan.keep.len() == 1 { "stays" } else { "stay" };
    let stay = format!("{} {verb}", ui::count(plan.keep.len() as u64, "image"));
    match (plan.is_empty(), deleted) {
        (true, _) => format!("Nothing to delete; {stay}."),
        (false, true) => format!("Deleted {}; {stay}.", what(plan)),
        (false, false) => format!("Nothing was deleted: {} would go with --yes; {stay}.", what(plan)),
    }
}

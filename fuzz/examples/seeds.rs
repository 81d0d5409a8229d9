//! Writes what each target starts from into `corpus/TARGET/`, in the current directory.

use std::path::Path;

fn main() -> std::io::Result<()> {
    for (number, (target, bytes)) in mos_fuzz::seeds().into_iter().enumerate() {
        let directory = Path::new("corpus").join(target);
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join(format!("seed-{number}")), bytes)?;
    }
    Ok(())
}

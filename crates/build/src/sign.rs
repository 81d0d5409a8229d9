//! Signs boot images for Secure Boot.
//!
//! A signature depends on nothing but image and key, so the signed image is kept in the cache like any other step; the key
//! never is.

use std::fs;

use mos_boot::secure_boot::{Identity, Signed, sign};
use mos_cache::Inputs;
use mos_store::Digest;

use crate::builder::Builder;
use crate::error::BuildError;
use crate::image::{BuiltImage, EFI_FILE, short};

const STEP: &str = "signed-image";
/// Raised whenever the same image and certificate would give another signature than before.
const FORMAT: u32 = 1;

impl Builder<'_> {
    /// The same image with a signature.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn sign_image(&self, image: BuiltImage, identity: &Identity) -> Result<BuiltImage, BuildError> {
        let unsigned = fs::read(&image.efi).map_err(BuildError::at(&image.efi))?;
        let key = Inputs::new(STEP, FORMAT)
            .add_digest("image", &Digest::of(&unsigned))
            .add("certificate", identity.certificate().der())
            .key();
        let cached = self.cache().step(STEP, &key, |output| {
            let signed = match sign(&unsigned, identity)? {
                Signed::Now(signed) => signed,
                Signed::Already => unsigned,
            };
            let path = output.join(EFI_FILE);
            fs::write(&path, signed).map_err(BuildError::at(&path))
        })?;
        let efi = cached.path.join(EFI_FILE);
        let mut report = image.report;
        report.efi_bytes = fs::metadata(&efi).map_err(BuildError::at(&efi))?.len();
        self.report
            .line(&format!("boot image: signed by `{}`", identity.certificate().name()));
        Ok(BuiltImage {
            efi,
            id: short(&key),
            report,
            ..image
        })
    }
}

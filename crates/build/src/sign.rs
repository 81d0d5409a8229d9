//! Signs boot images: a policy for the TPM, then for Secure Boot, which covers the policy.
//!
//! A signature depends on nothing but image and key, so the signed image is kept in the cache like any other step; the key
//! never is.

use std::fs;

use mos_boot::pcr::policy;
use mos_boot::secure_boot::{Identity, Signed, sign};
use mos_cache::Inputs;
use mos_store::Digest;

use crate::builder::Builder;
use crate::error::BuildError;
use crate::image::{BuiltImage, EFI_FILE, short};

const STEP: &str = "signed-image";
/// Raised whenever the same image and certificates would give other signatures than before.
const FORMAT: u32 = 2;
/// Our nodes' init measures no phases: the register stays as the stub leaves it.
const PHASES: [&str; 1] = [""];

/// Who signs an image, and what.
#[derive(Debug, Default)]
pub struct Signers {
    /// For Secure Boot: firmware that knows the certificate starts it.
    pub secure_boot: Option<Identity>,
    /// A policy for PCR 11: a TPM opens to the image what is sealed to this key.
    pub pcr_policy: Option<Identity>,
}

impl Signers {
    /// True when nobody signs.
    pub fn is_empty(&self) -> bool {
        self.secure_boot.is_none() && self.pcr_policy.is_none()
    }

    fn sign(&self, unsigned: Vec<u8>) -> Result<Vec<u8>, BuildError> {
        let image = match &self.pcr_policy {
            Some(identity) => policy::sign(&unsigned, identity, &PHASES)?,
            None => unsigned,
        };
        let Some(identity) = &self.secure_boot else {
            return Ok(image);
        };
        Ok(match sign(&image, identity)? {
            Signed::Now(signed) => signed,
            Signed::Already => image,
        })
    }
}

impl Builder<'_> {
    /// The same image with signatures.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn sign_image(&self, image: BuiltImage, signers: &Signers) -> Result<BuiltImage, BuildError> {
        let unsigned = fs::read(&image.efi).map_err(BuildError::at(&image.efi))?;
        let certificate = |identity: &Option<Identity>| match identity {
            Some(identity) => identity.certificate().der().to_vec(),
            None => Vec::new(),
        };
        let key = Inputs::new(STEP, FORMAT)
            .add_digest("image", &Digest::of(&unsigned))
            .add("certificate", certificate(&signers.secure_boot))
            .add("policy", certificate(&signers.pcr_policy))
            .key();
        let cached = self.cache().step(STEP, &key, |output| {
            let path = output.join(EFI_FILE);
            fs::write(&path, signers.sign(unsigned)?).map_err(BuildError::at(&path))
        })?;
        let efi = cached.path.join(EFI_FILE);
        let mut report = image.report;
        report.efi_bytes = fs::metadata(&efi).map_err(BuildError::at(&efi))?.len();
        for (identity, what) in [
            (&signers.pcr_policy, "has a policy for PCR 11"),
            (&signers.secure_boot, "is signed for Secure Boot"),
        ] {
            if let Some(identity) = identity {
                let name = identity.certificate().name();
                self.report.line(&format!("boot image: {what}, by `{name}`"));
            }
        }
        Ok(BuiltImage {
            efi,
            id: short(&key),
            report,
            ..image
        })
    }
}

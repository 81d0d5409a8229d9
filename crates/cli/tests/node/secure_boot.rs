//! The artefact as shipped, under firmware with our keys and with a TPM.

use std::fs;

use mos_boot::pcr::{self, Bank, policy};
use mos_vm::tools;

use crate::system::{Script, System, dead_port};

/// Says what the TPM measured, and that the stub handed the policy on.
const REGISTER: Script = Script {
    name: "register",
    script: "#!/bin/sh\necho \"REGISTER $(cat /sys/class/tpm/tpm0/pcr-sha256/11)\" >/dev/console\n\
             echo \"HANDED ON: $(head -n 1 /.extra/tpm2-pcr-public-key.pem)\" >/dev/console\nexec sleep 100000\n",
    service: "[service]\nname = \"register\"\nexec = \"/var/cache/bin/register\"\n",
};

#[test]
fn node_of_a_signed_image_with_a_policy_starts_its_services_and_the_tpm_measured_what_was_predicted() {
    let missing = tools::program(tools::SWTPM).err().or(tools::secure_firmware().err());
    if let Some(missing) = missing {
        return eprintln!("SKIPPED: {missing}");
    }
    let system = System::new(&[REGISTER]);
    system.mos(&["keys", "new", "--secure-boot"]);
    let environment = fs::read_to_string(system.repository().join("environments/dev.toml")).unwrap();
    let keys = "[image]\nsecure_boot = \"keys/secure-boot/db\"\npcr_policy = \"keys/secure-boot/pcr\"\n";
    let environment = environment.replace(":8480", &format!(":{}", dead_port()));
    system.write("environments/dev.toml", &format!("{environment}{keys}"));
    let output = system.mos(&[
        "run",
        "--env",
        "dev",
        "--secure-boot",
        "--tpm",
        "--until",
        "HANDED ON: -----BEGIN PUBLIC KEY-----",
    ]);
    let image = fs::read(system.repository().join("dist/vmlinuz.efi")).unwrap();
    let predicted: String = pcr::predict(&image, Bank::Sha256, "")
        .unwrap()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("REGISTER {predicted}")), "{said}");
    assert!(policy::verify(&image).unwrap().iter().all(|it| it.holds));
    system.mos(&["image", "verify", "--cert", "keys/secure-boot/db.crt"]);
    system.mos(&["image", "pcr"]);
}

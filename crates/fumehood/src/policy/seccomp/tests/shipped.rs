use super::super::*;
#[test]
fn smoke() {
    for arch in Arch::ALL {
        let program = compile(&Profile::shipped(), &Target::new(arch, (6, 12))).unwrap();
        program.require_start(arch).unwrap();
        println!("{arch} {}", program.len());
        let v = Profile::shipped().verdicts(&Target::new(arch, (6, 12))).unwrap();
        println!("{}", serde_json::to_string_pretty(&v).unwrap());
    }
}

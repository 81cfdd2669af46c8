"""The plans in docs/pods.md: large steps, compiled for slices that are not here.

pip install 'jssl[plan]'
python benchmarks/plans.py run [--only mae-L]      minutes each; kept in docs/plans/
python benchmarks/plans.py write                   the tables of docs/pods.md
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "plans"
PAGE, MARK = ROOT / "docs" / "pods.md", "<!-- plans -->\n"
PLANS = {  # name: (what it is, config and stage, topology)
    "mae-B-16x16": ("MAE B/16, 4,096", "mae.py:paper", "v5e:16x16"),
    "mae-L-16x16": ("MAE L/16, 4,096", "mae.py:paper,variant=L/16", "v5e:16x16"),
    "mae-L-16x16-fsdp": (
        "the same",
        "mae.py:paper,variant=L/16,mesh=data=64;fsdp=4",
        "v5e:16x16",
    ),
    "mae-L-16x16-tensor": (
        "the same",
        "mae.py:paper,variant=L/16,mesh=data=64;tensor=4",
        "v5e:16x16",
    ),
    "mae-L-8x8": ("the same", "mae.py:paper,variant=L/16", "v5e:8x8"),
    "mae-L-4x4": ("the same", "mae.py:paper,variant=L/16", "v5e:4x4"),
    "mae-L-4x4-remat": (
        "the same, remat",
        "mae.py:paper,variant=L/16,remat=True",
        "v5e:4x4",
    ),
    "mae-H-16x16": ("MAE H/14, 4,096", "mae.py:paper,variant=H/14", "v5e:16x16"),
    "simclr-4096-16x16": ("SimCLR ResNet-50, 4,096", "simclr.py:paper", "v5e:16x16"),
    "simclr-4096-8x8": ("the same", "simclr.py:paper", "v5e:8x8"),
    "simclr-4096-4x4": ("the same", "simclr.py:paper", "v5e:4x4"),
    "simclr-4096-4x4-remat": (
        "the same, remat",
        "simclr.py:paper,remat=True",
        "v5e:4x4",
    ),
    "simclr-8192-16x16": (
        "SimCLR ResNet-50, 8,192",
        "simclr.py:paper,batch=8192",
        "v5e:16x16",
    ),
    "simclr-32768-16x16": (
        "SimCLR ResNet-50, 32,768",
        "simclr.py:paper,batch=32768",
        "v5e:16x16",
    ),
    "simclr-32768-chunk-16x16": (
        "the same, chunk=4096",
        "simclr.py:paper,batch=32768,chunk=4096",
        "v5e:16x16",
    ),
    "moco-v3-B-16x16": ("MoCo v3 ViT-B/16, 4,096", "moco.py:v3_vit", "v5e:16x16"),
    "dino-S-16x16": ("DINO ViT-S/16, 1,024, 2 + 8 crops", "dino.py:paper", "v5e:16x16"),
    "dino-B-16x16": ("DINO ViT-B/16", "dino.py:paper,variant=B/16", "v5e:16x16"),
    "ibot-S-16x16": ("iBOT ViT-S/16, 1,024, 2 + 10 crops", "ibot.py:paper", "v5e:16x16"),
    "swav-4096-16x16": ("SwAV ResNet-50, 4,096, 2 + 6 crops", "swav.py:paper", "v5e:16x16"),
    "dit-XL-16x16": (
        "DiT-XL, 256 patches, 256",
        "video_diffusion.py:paper,source=blank:imagenet2012,size=256,variant=XL/16",
        "v5e:16x16",
    ),
    "latent-diffusion-autoencoder-16x16": (
        "autoencoder of latent diffusion, 768",
        "latent_diffusion.py:paper,source=blank:imagenet2012,batch=768",
        "v5e:16x16",
    ),
    "latent-diffusion-16x16": (
        "latent diffusion, 1.45 billion weights, 768",
        "latent_diffusion.py:paper,source=blank:imagenet2012,batch=768 --stage=diffusion",
        "v5e:16x16",
    ),
    "latent-diffusion-16x16-fsdp": (
        "the same",
        "latent_diffusion.py:paper,source=blank:imagenet2012,batch=768,mesh=data=16;fsdp=16"
        " --stage=diffusion",
        "v5e:16x16",
    ),
}
COLUMNS = (
    "step",
    "slice",
    "mesh",
    "GB a chip",
    "fits",
    "TFLOP a chip",
    "sent MB a chip",
    "products ms",
    "memory ms",
    "network ms",
    "images/s, roofline",
)


def run(only):
    KEPT.mkdir(parents=True, exist_ok=True)
    for name, (_, config, topology) in PLANS.items():
        kept = KEPT / f"{name}.json"
        if kept.exists() or not any(word in name for word in only or [""]):
            continue
        config, *stage = config.split()
        words = [f"--config=experiments/{config}", f"--topology={topology}", *stage]
        command = [sys.executable, "-m", "jssl.plan", *words, "--no-search"]
        print(name, flush=True)
        if subprocess.run([*command, f"--json={kept}"], cwd=ROOT).returncode == 1:
            return 1
    return 0


def table():
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for name, (what, _, topology) in PLANS.items():
        path = KEPT / f"{name}.json"
        if not path.exists():
            continue
        read = json.loads(path.read_text())
        cells = [what, topology.removeprefix("v5e:"), read["mesh"].replace(";", " ")]
        cells += [
            f"{read['memory']['needs'] / 1e9:.1f}",
            "yes" if read["fits"] else "no",
            f"{read['products'] / 1e12:.2f}",
        ]
        if "seconds" in read:
            sent = sum(c["sent"] for c in read["collectives"].values())
            cells += [f"{sent / 1e6:.0f}"]
            cells += [f"{1e3 * seconds:.1f}" for seconds in read["seconds"].values()]
            cells += [f"{read['images a second']:,.0f}"]
        lines.append(f"| {' | '.join(cells + [''] * (len(COLUMNS) - len(cells)))} |")
    return "\n".join(lines) + "\n\n" + spoken()


def page():
    """docs/pods.md with the tables of what is kept."""
    return PAGE.read_text().partition(MARK)[0] + MARK + "\n" + table()


def spoken():
    """The collectives of each plan, by kind."""
    lines = ["| step | slice | collectives: count, MB that a chip sends |", "|---|---|---|"]
    for name, (what, config, topology) in PLANS.items():
        path = KEPT / f"{name}.json"
        read = json.loads(path.read_text()) if path.exists() else {}
        if "collectives" in read:
            told = ", ".join(
                f"{c['count']} {kind} {c['sent'] / 1e6:.1f}"
                for kind, c in read["collectives"].items()
            )
            mesh = f" {read['mesh'].replace(';', ' ')}" if "mesh" in config else ""
            lines.append(
                f"| {what} ({name}) | {topology.removeprefix('v5e:')}{mesh} | {told} |"
            )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "write"))
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD")
    options = parser.parse_args()
    if options.command == "write":
        PAGE.write_text(page())
        return 0
    return run(options.only)


if __name__ == "__main__":
    sys.exit(main())

"""Train an inverter and its corrector: python -m invlib.inversion --encoder NAME --run mine."""

import argparse

from invlib.encoders.frozen import load_encoder
from invlib.encoders.material import load_material
from invlib.inversion.train_corrector import train_corrector
from invlib.settings import load_preset, select_row
from invlib.training.train import train


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m invlib.inversion", description="Train an inverter and its corrector."
    )
    parser.add_argument("--preset", default="auto")
    parser.add_argument(
        "--encoder", default=None, help="the encoder whose vectors are to be inverted: a hub name or a folder"
    )
    parser.add_argument("--run", default=None, help="folder or name under runs/")
    parser.add_argument("--data", default=None)
    args = parser.parse_args(argv)
    try:
        settings = load_preset(args.preset, data=args.data, encoder=args.encoder)
        name = f"mean_decoder_{load_encoder(settings.encoder).hidden_size}"
        first, second = (select_row(settings, f"{name}_{variant}") for variant in ("inverter", "corrector"))
        material = load_material(settings)
        inverter, _ = train(first, args.run, material, purpose="ablation")
        _, curves = train_corrector(second, inverter, args.run, material)
        print(curves.tail(1).T.to_string(), flush=True)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()

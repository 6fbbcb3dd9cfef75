from invlib.training.train import main

main()

from invlib.cli import main

main()

"""`python -m deeplab_tf` is `deeplab-tf`."""

from deeplab_tf.cli import main

if __name__ == "__main__":
    main()

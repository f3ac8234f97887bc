"""Label live video from any source (0, rtsp://..., a file, sample://) and write it to a video file, until Ctrl-C.
python docs/examples/webcam_loop.py demo/bundle 0 labeled.mp4"""

import sys

import cv2

import deeplab_tf

bundle, source, out = sys.argv[1:4]
limit = int(sys.argv[4]) if len(sys.argv) > 4 else None
writer = None
with deeplab_tf.load(bundle) as model, deeplab_tf.open_video(source) as video:
    try:
        for number, result in enumerate(model.predict(video), 1):
            overlay = result.overlay()
            if writer is None:
                size = overlay.shape[1], overlay.shape[0]
                writer = cv2.VideoWriter(out, cv2.VideoWriter_fourcc(*"mp4v"), video.fps or 25.0, size)
            writer.write(cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))  # or cv2.imshow("labels", ...), with a screen
            print(f"frame {number}: {max(result.class_shares().items(), key=lambda item: item[1])}")
            if number == limit:
                break
    except KeyboardInterrupt:
        pass
if writer is not None:
    writer.release()

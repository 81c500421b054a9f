"""What the program says in English, in Chinese; see `components.texts.sentences`."""

from collections.abc import Mapping

SENTENCES_ZH = {
    # the message does not fit
    "This turn needs {n} tokens and the conversation already holds {n} of {n}; forget the oldest turns, or send less.":
        "这条消息需要 {0} 个词元，对话已占用 {1} / {2} 个；请忘掉最早的几轮，或少发一些。",
    "The turn needs {n} tokens behind {n} in the conversation and the model holds {n}: {cuts}.":
        "这条消息需要 {0} 个词元，对话中已有 {1} 个，而模型最多容纳 {2} 个：请{3}。",
    "The turn needs {size} of memory and {size} are free: {cuts}.":
        "这条消息需要 {0} 内存，可用的只有 {1}：请{2}。",
    "The device ran out of memory: shorten the media, drop the oldest turns or clear the conversation.":
        "设备内存不足：请缩短音频或视频、忘掉最早的几轮，或点击“新对话”。",
    "Something went wrong inside the program: try again, and look into the server's log if it stays.":
        "程序内部出了问题：请重试；如果仍然如此，请查看服务器日志。",
    # the model and its flags
    "No checkpoint is named; give a local folder or a hub id such as Qwen/Qwen2.5-Omni-3B.":
        "没有指定模型；请给出本地文件夹或 Hub 上的名称，例如 Qwen/Qwen2.5-Omni-3B。",
    "{} is a {} model; choose a Qwen2.5-Omni or Qwen3-Omni checkpoint such as Qwen/Qwen2.5-Omni-3B.":
        "{0} 是 {1} 类型的模型；请选择 Qwen2.5-Omni 或 Qwen3-Omni 的模型，例如 Qwen/Qwen2.5-Omni-3B。",
    "{} does not fit this device's memory; choose a smaller checkpoint, --quantize int4 or --text-only.":
        "{0} 超出了此设备的内存；请选择更小的模型、--quantize int4 或 --text-only。",
    "{} could not be fetched from the hub; check its name and the network, log in with `hf auth login` where it asks "
    "for that, or give a complete local folder.":
        "无法从 Hub 下载 {0}；请检查名称和网络，需要登录时运行 `hf auth login`，或给出完整的本地文件夹。",
    "{} cannot be loaded as a Qwen-Omni checkpoint ({}); give a complete local folder with safetensors weights (of "
    "Qwen2.5-Omni with spk_dict.pt, too), or a hub id such as Qwen/Qwen2.5-Omni-3B.":
        "{0} 无法作为 Qwen-Omni 模型加载（{1}）；请给出带有 safetensors 权重的完整本地文件夹（Qwen2.5-Omni 还需要"
        " spk_dict.pt），或 Hub 上的名称，例如 Qwen/Qwen2.5-Omni-3B。",
    "--device is {}; choose one of {}.": "--device 的值是 {0}；请选择其中之一：{1}。",
    "--device is {} but this machine has none that PyTorch can use; choose --device cpu.":
        "--device 的值是 {0}，但这台机器上没有 PyTorch 可用的此类设备；请选择 --device cpu。",
    "--engine is {}; choose one of {}.": "--engine 的值是 {0}；请选择其中之一：{1}。",
    "--engine graphs needs an NVIDIA GPU; choose --engine auto.":
        "--engine graphs 需要 NVIDIA GPU；请选择 --engine auto。",
    "--dtype is {}; choose one of auto, {}.": "--dtype 的值是 {0}；请选择其中之一：auto, {1}。",
    "--attention is {}; choose one of {}.": "--attention 的值是 {0}；请选择其中之一：{1}。",
    "--attention flash_attention_2 needs a working flash-attn package, an Ampere or newer GPU and a 16-bit --dtype; "
    "choose --attention auto.":
        "--attention flash_attention_2 需要可用的 flash-attn 包、Ampere 或更新的 GPU，以及 16 位的 --dtype；"
        "请选择 --attention auto。",
    "--quantize is {}; choose one of {}.": "--quantize 的值是 {0}；请选择其中之一：{1}。",
    "--quantize int4 does not run on {}; choose --quantize int8.":
        "--quantize int4 不能在 {0} 上运行；请选择 --quantize int8。",
    "--quantize int4 needs a bitsandbytes that works on this machine's {} ({}); choose --quantize int8.":
        "--quantize int4 需要能在这台机器的 {0} 上运行的 bitsandbytes（{1}）；请选择 --quantize int8。",
    "--quantize int4 needs bitsandbytes: pip install -r requirements-quantize.txt, or choose --quantize int8.":
        "--quantize int4 需要 bitsandbytes：请运行 pip install -r requirements-quantize.txt，或选择 --quantize int8。",
    "--quantize {} is not there for Qwen3-Omni, whose experts it does not know: leave it out, or choose a Qwen2.5-Omni "
    "checkpoint.":
        "--quantize {0} 不支持 Qwen3-Omni 的专家层：请去掉它，或选择 Qwen2.5-Omni 的模型。",
    "--voices is of no use with Qwen3-Omni, whose voices are part of its weights: leave it out, or choose a "
    "Qwen2.5-Omni checkpoint.":
        "Qwen3-Omni 的声音包含在权重里，--voices 不起作用：请去掉它，或选择 Qwen2.5-Omni 的模型。",
    "--voices is of no use with --text-only: leave one of them out.":
        "--voices 与 --text-only 同时使用不起作用：请去掉其中一个。",
    "{} has a speaker without a proper name: name each with 1 to {n} letters.":
        "{0}：有的声音没有合适的名字；请给每个声音起 1 到 {1} 个字符的名字。",
    "{} has a speaker {}, which is there already: give it another name.":
        "{0}：声音 {1} 已经存在；请换一个名字。",
    "{} is no file: give the path of one in the layout of spk_dict.pt.":
        "{0}：没有这个文件；请给出结构与 spk_dict.pt 相同的文件的路径。",
    "{} has more than {n} MB, which no speaker takes: give another file.":
        "{0}：超过 {1} MB，没有哪个声音需要这么大；请换一个文件。",
    "{} holds more than plain tensors, or none: save the speakers with torch.save.":
        "{0}：里面不只有普通张量，或者根本没有；请用 torch.save 保存声音。",
    "{} holds no speakers: it must be a dictionary of names, as spk_dict.pt is.":
        "{0}：里面没有声音；它必须像 spk_dict.pt 一样，是以名字为键的字典。",
    "{} must have exactly {}.": "{0}：必须恰好包含 {1}。",
    "{}: {} must be a tensor of floating point numbers.": "{0}：{1} 必须是浮点数张量。",
    "{}: {} has the shape {} and this checkpoint needs {}.":
        "{0}：{1} 的形状是 {2}，而此模型需要 {3}。",
    "{}: {} has values that are no numbers; make it again.": "{0}：{1} 中有不是数字的值；请重新制作。",
    "{}: bos_token must be a token of this checkpoint, from 0 to {n}.":
        "{0}：bos_token 必须是此模型的词元，从 0 到 {1}。",
    "The program is being closed: start it again.": "程序正在关闭：请重新启动。",
    # a file
    "{} was not found; upload it again.": "找不到 {0}；请重新上传。",
    "{} cannot be opened; upload it again.": "{0} 无法打开；请重新上传。",
    "{} is empty; record or export it again.": "{0} 是空文件；请重新录制或导出。",
    "{} has {n} MB and at most {n} MB can be sent; cut or compress it first.":
        "{0} 有 {1} MB，最多只能发送 {2} MB；请先剪短或压缩。",
    "{} is a folder; upload the files in it one by one.": "{0} 是文件夹；请逐个上传其中的文件。",
    "{} is not an ordinary file; upload {accepted}.": "{0} 不是普通文件；请上传{1}。",
    "{} cannot be read, it is damaged or of an unknown kind; upload {accepted}.":
        "{0} 无法读取，可能已损坏或类型未知；请上传{1}。",
    "{} is a playlist that points to other files; upload the sound or the video itself.":
        "{0} 是指向其他文件的播放列表；请上传音频或视频本身。",
    "{} is a vector drawing; export it as PNG and upload that.":
        "{0} 是矢量图；请导出为 PNG 后上传。",
    "{} is a web page, not a media file; save the picture, sound or video itself.":
        "{0} 是网页，不是媒体文件；请保存图片、音频或视频本身再上传。",
    "{} is a text file; paste its text into the message instead.":
        "{0} 是文本文件；请把其中的文字粘贴到消息里。",
    "{} is a {kind} and not a {kind}; choose another file.": "{0} 是{1}，不是{2}；请选择另一个文件。",
    "{} holds no sound that can be decoded; save it as WAV or MP3 and upload that.":
        "{0} 中没有可解码的声音；请另存为 WAV 或 MP3 后上传。",
    "{} lasts less than {n} s, too short to be heard; record it again.":
        "{0} 不足 {1} 秒，太短听不清；请重新录制。",
    "{} {lasts} and at most {n} s can be sent; cut it first.":
        "{0} {1}，最多只能发送 {2} 秒；请先剪短。",
    "{} is a HEIC photo, which cannot be read here; save it as JPEG and upload that.":
        "{0} 是 HEIC 照片，这里无法读取；请另存为 JPEG 后上传。",
    "{} is a damaged picture; save it again and upload that.":
        "{0} 是损坏的图片；请重新保存后上传。",
    "{} is too large a picture for this machine; make it smaller first.":
        "{0} 对这台机器来说太大；请先缩小图片。",
    "{} has too many pixels; make it smaller first.": "{0} 的像素太多；请先缩小图片。",
    "{} is a picture without pixels; save it again and upload that.":
        "{0} 是没有像素的图片；请重新保存后上传。",
    "{} has {n} x {n} pixels and at most {n} million can be sent; make it smaller first.":
        "{0} 有 {1} x {2} 像素，最多只能发送 {3} 百万像素；请先缩小图片。",
    "{subject} has {n} x {n} pixels, too long and narrow to be seen; crop it first.":
        "{0} 有 {1} x {2} 像素，过于狭长，无法看清；请先裁剪。",
    "{} has frames of {n} x {n} pixels and at most {n} million can be sent; make it smaller first.":
        "{0} 的每帧有 {1} x {2} 像素，最多只能发送 {3} 百万像素；请先缩小视频。",
    "{} holds no picture that can be decoded; save it as MP4 (H.264) and upload that.":
        "{0} 中没有可解码的画面；请另存为 MP4（H.264）后上传。",
    "A webcam frame is damaged; start the webcam again.": "摄像头画面已损坏；请重新打开摄像头。",
    "A webcam frame has {n} x {n} pixels; choose a smaller picture size of the webcam.":
        "摄像头画面有 {0} x {1} 像素；请为摄像头选择更小的尺寸。",
    # the message
    "The message is empty; type something or add a picture, a sound or a video.":
        "消息是空的；请输入文字，或添加图片、音频或视频。",
    "The text has {n} characters and at most {n} can be sent; shorten it or send it in several messages.":
        "文字有 {0} 个字符，最多只能发送 {1} 个；请缩短，或分成几条消息发送。",
    "The message has {n} files and at most {n} can be sent; send the rest in the next one.":
        "这条消息有 {0} 个文件，最多只能发送 {1} 个；其余的请在下一条中发送。",
    "The files have {n} MB together and at most {n} MB can be sent; send some of them in the next message.":
        "文件共有 {0} MB，最多只能发送 {1} MB；请把一部分放到下一条消息中发送。",
    "The {kinds} last {n} s together and at most {n} s can be sent; send some of them in the next message.":
        "{0}总长 {1} 秒，最多只能发送 {2} 秒；请把一部分放到下一条消息中发送。",
    "At most {n} files can be sent at once and these are {n}; send fewer.":
        "一次最多发送 {0} 个文件，这里有 {1} 个；请少发几个。",
    "The files have {n} MB and {n} MB can be sent at once; send fewer.":
        "文件共有 {0} MB，一次只能发送 {1} MB；请少发几个。",
    "The file is not there any more: upload it again.": "文件已不存在：请重新上传。",
    "Only uploaded files can be opened: upload the file instead of giving its path.":
        "只能打开已上传的文件：请上传文件，而不是给出路径。",
    "Only files can be sent: upload the files one by one instead of their folder.":
        "只能发送文件：请逐个上传文件，而不是文件夹。",
    # the settings
    "This checkpoint has no such voice: choose one of {}.": "此模型没有这个声音：请从中选择一个：{0}。",
    "This checkpoint was loaded without speech: start the program without --text-only to hear voices.":
        "模型加载时关闭了语音：要听到声音，请不带 --text-only 启动程序。",
    "This model writes and does not speak: start one that has a Talker.":
        "这个模型只写不说：请启动带有 Talker 的模型。",
    "The vocoder's steps must be from {n} to {n}: change them in the settings.":
        "“求解点数”必须在 {0} 到 {1} 之间：请在设置中修改。",
    "The vocoder's guidance must be from 0 to {n}: change it in the settings.":
        "“引导强度”必须在 0 到 {0} 之间：请在设置中修改。",
    "The seed must be a whole number from 0 to {n}: change it in the settings.":
        "“随机种子”必须是 0 到 {0} 之间的整数：请在设置中修改。",
    "The seed must be a whole number from 0 to {n}, or empty.":
        "“随机种子”必须是 0 到 {0} 之间的整数，或留空：请在设置中修改。",
    "The {setting} of the {stage} is out of its range: change it in the settings.":
        "“{1}”中的“{0}”超出范围：请在设置中修改。",
    # the conversation
    "A reply is still being made: wait for its end or stop it, then {deed}.":
        "回复还在生成：请等它结束或点击“停止”，然后{0}。",
    "{busy}: wait for its end or stop it, then send again.":
        "{0}：请等待结束或将其停止，然后再次发送。",
    "This conversation has expired: reload the page to begin a new one.":
        "这个对话已过期：请重新加载页面，开始新的对话。",
    "The conversation was cleared while you spoke: say it again.":
        "您说话时对话被清除：请再说一遍。",
    "This conversation is damaged or gone: choose another one.":
        "这个对话已损坏或不存在：请选择另一个。",
    "There is no such conversation any more: choose another one.": "这个对话已不存在：请选择另一个。",
    "This conversation is open in another tab: go on there, or close that tab first.":
        "这个对话已在另一个标签页中打开：请在那里继续，或先关闭那个标签页。",
    "A conversation needs a name: write one.": "对话需要名称：请输入一个。",
    "This message is not in the conversation any more: write it again.":
        "这条消息已不在对话中：请重新输入。",
    "This reply is not in the conversation any more: ask again.": "这条回复已不在对话中：请重新提问。",
    "This reply has no words: choose another one to be spoken.":
        "这条回复没有文字：请选择另一条来朗读。",
    "There is nothing to say: write a sentence first.": "没有可朗读的内容：请先写一句话。",
    "The voice said nothing: choose another voice or seed.": "这个声音什么也没说：请换一个声音或随机种子。",
    "The voice preview was stopped: try again.": "试听已中断：请重试。",
    "The checkpoint made no sound for this voice: choose another one.":
        "模型没有为这个声音生成语音：请选择另一个。",
    "These takes are not in the conversation any more: compare the voices again.":
        "这些录音已不在对话中：请重新比较声音。",
    # the server's disk
    "The server could not write to its data folder: free some disk space and try again.":
        "服务器无法写入数据文件夹：请腾出一些磁盘空间后重试。",
    "{} in the data folder cannot be used ({}): make it writable, or move it away to begin without the conversations "
    "in it.":
        "数据文件夹中的 {0} 无法使用（{1}）：请让它可写，或把它移走，不带其中的对话重新开始。",
    "{} in the data folder is damaged or of another version: move it away to begin without the conversations in it.":
        "数据文件夹中的 {0} 已损坏或版本不同：请把它移走，不带其中的对话重新开始。",
    "The conversation could not be kept on the server's disk ({}): it goes on, but will be gone when the program ends.":
        "对话无法保存到服务器的磁盘（{0}）：可以继续，但程序结束后会消失。",
    "The votes could not be read or kept on the server's disk ({}): what is heard is not touched.":
        "投票无法从服务器的磁盘读取或保存（{0}）：不影响听到的声音。",
    # out and in again
    "There is nothing to export yet: say something first.": "还没有可导出的内容：请先说点什么。",
    "The file is no conversation that this program exported, or it was changed: export it again.":
        "这个文件不是本程序导出的对话，或已被改动：请重新导出。",
    "The conversation was exported by another version of this program ({}) and this one reads version {n}: export it "
    "again with this one.":
        "这个对话由本程序的另一个版本（{0}）导出，而当前程序读取的是版本 {1}：请用当前程序重新导出。",
    "The file is no zip that this program exported, or it is damaged: export it again.":
        "这个文件不是本程序导出的 zip，或已损坏：请重新导出。",
    "The zip has more than {n} files: send one that this program exported.":
        "zip 中的文件超过 {0} 个：请选择本程序导出的 zip。",
    "The conversation in the zip is too long to be read: send one that this program exported.":
        "zip 中的对话太长，无法读取：请选择本程序导出的 zip。",
    "The zip does not say what its files must be: export the conversation again.":
        "zip 没有说明其中的文件应有的内容：请重新导出对话。",
    "{} has {n} MB and at most {n} MB can be taken in: start the program with larger limits.":
        "{0} 有 {1} MB，最多只能导入 {2} MB：请用更大的限制启动程序。",
    "{} in the zip is longer than it says: export the conversation again.":
        "zip 中的 {0} 比标明的更长：请重新导出对话。",
    "{} in the zip is not what was exported: export the conversation again.":
        "zip 中的 {0} 与导出时不同：请重新导出对话。",
}  # fmt: skip
WORDS_ZH: Mapping[str, Mapping[str, str]] = {
    "cuts": {"{cut} or {cut}": "{0}，或{1}", "{cut}": "{0}"},
    "cut": {
        "drop the oldest turn": "忘掉最早的一轮",
        "drop the {n} oldest turns": "忘掉最早的 {0} 轮",
        "leave out the largest file": "移除最大的文件",
        "clear the conversation and send less at once": "点击“新对话”，并且一次少发一些",
        "send less at once": "一次少发一些",
        "shorten the video to {n} s": "把视频缩短到 {0} 秒",
        "shorten the sound to {n} s": "把音频缩短到 {0} 秒",
        "shorten the text to {n} characters": "把文字缩短到 {0} 个字符",
    },
    "size": {"{n} GB": "{0} GB", "{n} MB": "{0} MB"},
    "kind": {"picture": "图片", "sound": "音频", "video": "视频"},
    "kinds": {"sounds": "音频", "videos": "视频"},
    "lasts": {"lasts {n} s": "时长 {0} 秒", "is too long": "太长"},
    "subject": {
        "The picture": "图片",
        "The camera's picture": "摄像头画面",
        '"{}"': '"{0}"',
    },
    "accepted": {
        "a picture (PNG, JPEG, WebP, GIF, BMP), a sound (WAV, MP3, FLAC, OGG, M4A) or a video (MP4, WebM, MOV)":
            "图片（PNG、JPEG、WebP、GIF、BMP）、音频（WAV、MP3、FLAC、OGG、M4A）或视频（MP4、WebM、MOV）",
    },
    "setting": {
        "temperature": "温度",
        "top p": "Top-p",
        "top k": "Top-k",
        "repetition penalty": "重复惩罚",
        "maximum of new tokens": "词元上限",
    },
    "stage": {"text": "Thinker：文字", "speech": "Talker：语音"},
    "deed": {
        "export": "导出",
        "send it again": "重新发送",
        "hear it again": "再次朗读",
        "hear a sentence": "朗读这句话",
        "choose another take": "选择另一次录音",
        "take turns back": "撤回",
        "choose another version": "选择另一个版本",
        "drop turns": "忘掉最早的几轮",
    },
    "busy": {"You are being listened to": "正在听您说话", "A reply is still being made": "回复还在生成"},
}  # fmt: skip
